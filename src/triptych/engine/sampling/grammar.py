"""Constrained output: JSON schema, any JSON object, regex or choice, through llguidance.

Compiling takes milliseconds and is safe on any thread; computing a mask takes some tens of microseconds and
belongs to the thread that samples.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from tokenizers import Tokenizer
from torch import Tensor

from ..errors import ConstraintError
from ..request import Constraint

# Between two JSON tokens: nothing, one space, or one line break with an indent. Unbounded whitespace lets a
# model that is unsure what to say emit blanks until its length limit.
JSON_WHITESPACE = r"(?: |\n {0,24})?"
SPACE_PIECE = "\u2581"  # how sentencepiece-style vocabularies spell a space


class Matcher:
    """How far one text has come in its grammar. Not thread-safe."""

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size

    def mask(self) -> Tensor:
        """Bool [V] on the CPU, True for the ids that may come next; eos only where the text may end.

        Raises ConstraintError if no token can continue the text.
        """
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(packed, count=self._vocab_size, bitorder="little").view(np.bool_)
        if self._matcher.is_error():
            raise ConstraintError(f"the output constraint cannot go on: {self._problem()}")
        if not allowed.any():
            raise ConstraintError("no token of this model's vocabulary can continue the constrained text")
        return torch.from_numpy(allowed)

    def accept(self, token_id: int) -> None:
        """Takes the token that was sampled. Raises ConstraintError if the grammar does not allow it."""
        if not self._matcher.consume_token(token_id):
            raise ConstraintError(f"token {token_id} breaks the output constraint: {self._problem()}")

    @property
    def finished(self) -> bool:
        """Whether the text is complete and nothing but its end can follow."""
        return bool(self._matcher.is_stopped())

    @property
    def accepting(self) -> bool:
        """Whether the text is complete as it is."""
        return bool(self._matcher.is_accepting())

    def _problem(self) -> str:
        return _one_line(self._matcher.get_error())


class GrammarCompiler:
    """Constraints to matchers for one tokenizer; keeps the `cache_size` last used grammars. Thread-safe.

    `tokenizer` is a `tokenizers.Tokenizer` or the text of a tokenizer.json; `vocab_size` is the width of the
    logits, of which rows beyond the tokenizer are never allowed; `eos_ids` end a text.
    """

    def __init__(
        self, tokenizer: Tokenizer | str, vocab_size: int, eos_ids: Collection[int], cache_size: int = 64
    ) -> None:
        if isinstance(tokenizer, str):
            tokenizer = Tokenizer.from_str(tokenizer)
        rows = max(vocab_size, tokenizer.get_vocab_size())
        self._tokenizer = LLTokenizer(tokenizer.to_str(), n_vocab=rows, eos_token=sorted(eos_ids) or None)
        self._drops_space = _drops_leading_space(tokenizer)
        self._vocab_size = vocab_size
        self._cache_size = cache_size
        self._cache: OrderedDict[tuple[str, str, bool], LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def compile(self, constraint: Constraint, *, continues: bool = False) -> Matcher:
        """A matcher at the beginning of its text, which `continues` other text or stands alone.

        Models whose tokenizer drops the space a text begins with may begin with one that nobody will see; it
        would be seen in a text that continues another. Raises ConstraintError saying what is wrong with the
        schema, pattern or list.
        """
        spaced = self._drops_space and not continues
        key = (constraint.kind, _canonical(constraint), spaced)
        with self._lock:
            matcher = self._cache.get(key)
            if matcher is not None:
                self._cache.move_to_end(key)
        if matcher is None:
            matcher = self._build(constraint, spaced)
            with self._lock:
                self._cache[key] = matcher
                while len(self._cache) > self._cache_size:
                    self._cache.popitem(last=False)
        return Matcher(matcher.deep_copy(), self._vocab_size)

    def _build(self, constraint: Constraint, leading_space: bool) -> LLMatcher:
        name = _NAMES[constraint.kind]
        plain, spaced = _GRAMMARS[constraint.kind](constraint.value)
        problem = LLMatcher.validate_grammar(plain, self._tokenizer, limits=_limits())
        if problem and not problem.startswith("WARNING"):
            raise _invalid(f"{name} cannot be used: {_one_line(problem)}")
        for grammar in (spaced, plain) if leading_space else (plain,):
            matcher = self._start(grammar)
            if matcher is not None:
                return matcher
        raise _invalid(f"{name} can never be satisfied by any text: {_shortened(constraint.value)}")

    def _start(self, grammar: str) -> LLMatcher | None:
        """A matcher that can take a first token; the first mask shows patterns that match no text at all."""
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=_limits())
        probe = matcher.deep_copy()
        probe.compute_bitmask()
        dead = probe.is_error() or (probe.is_stopped() and not probe.is_accepting())
        return None if dead else matcher


def _limits() -> LLParserLimits:
    return LLParserLimits(verbose_errors=False)


def _schema_grammar(value: Any) -> tuple[str, str]:
    schema = json.loads(_schema_text(value))
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise _invalid(f"the JSON schema must be an object, not {_shortened(schema)}")
    schema = {**schema, "x-guidance": {"whitespace_pattern": JSON_WHITESPACE}}
    text = json.dumps(schema)
    return LLMatcher.grammar_from_json_schema(text), _lark(f'start: " "? value\nvalue: %json {text}\n')


def _schema_text(value: Any) -> str:
    """JSON text in the schema's own order of keys: properties are generated in that order."""
    try:
        return json.dumps(json.loads(value) if isinstance(value, str | bytes) else value)
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid(f"the JSON schema is not valid JSON: {_one_line(str(error))}") from None


def _object_grammar(value: Any) -> tuple[str, str]:
    return _schema_grammar({"type": "object"})


def _regex_grammar(value: Any) -> tuple[str, str]:
    if not isinstance(value, str):
        raise _invalid(f"the regular expression must be a string, not {_shortened(value)}")
    return LLMatcher.grammar_from_regex(value), LLMatcher.grammar_from_regex(f" ?(?:{value})")


def _choice_grammar(value: Any) -> tuple[str, str]:
    if isinstance(value, str) or not all(isinstance(choice, str) for choice in value or ()):
        raise _invalid(f"the choices must be a list of strings, not {_shortened(value)}")
    if not value or not all(value):
        raise _invalid("the list of choices is empty or has an empty string; give at least one text")
    choices = " | ".join(json.dumps(choice) for choice in dict.fromkeys(value))
    return _lark(f"start: CHOICE\nCHOICE: {choices}"), _lark(f'start: CHOICE\nCHOICE: " "? ({choices})')


def _lark(text: str) -> str:
    return str(LLMatcher.grammar_from_lark(text))


_GRAMMARS: dict[str, Callable[[Any], tuple[str, str]]] = {
    "json_schema": _schema_grammar,
    "json_object": _object_grammar,
    "regex": _regex_grammar,
    "choice": _choice_grammar,
}
_NAMES = {
    "json_schema": "the JSON schema",
    "json_object": "a JSON object",
    "regex": "the regular expression",
    "choice": "the list of choices",
}


def _canonical(constraint: Constraint) -> str:
    """The content of a constraint, for the cache."""
    if constraint.kind == "json_schema":
        return _schema_text(constraint.value)
    return "" if constraint.kind == "json_object" else repr(constraint.value)


def _drops_leading_space(tokenizer: Tokenizer) -> bool:
    """Whether decoding drops the space a text begins with, as sentencepiece-style tokenizers do.

    A model then begins its answer with a piece like "▁yes".
    """
    pieces = tokenizer.get_vocab()
    for piece, token in pieces.items():
        if len(piece) > 1 and piece.startswith(SPACE_PIECE) and piece[1].isalpha():
            return not str(tokenizer.decode([token])).startswith(" ")
    return False


def _invalid(message: str) -> ConstraintError:
    return ConstraintError(message, "constraint")


def _one_line(text: str) -> str:
    """llguidance's message in one line; of a listing of a regular expression only what is wrong with it."""
    wrong = re.search(r"^error: (.+)$", text, re.MULTILINE)
    if wrong is not None:
        return f"bad regular expression, {wrong[1]}"
    return " ".join(text.split())


def _shortened(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
