from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizer import small_tokenizer

from triptych.engine.prompting.tokenizer import Detokenizer, Tokenizer
from triptych.engine.request import Constraint, SamplingParams
from triptych.engine.sampling.grammar import GrammarCompiler
from triptych.engine.sampling.output import Emission, TextStream
from triptych.engine.sampling.sampler import Sampler, SamplingRow

EOS = 2
WORDS = {10: "a", 11: "b", 12: " stop", 13: "st", 14: "op", 15: "\n", 20: "é"}


class WordDecoder:
    """Each id is a text; 30 and 31 are the two bytes of one character."""

    def __init__(self) -> None:
        self.half = False

    def push(self, ids: Sequence[int]) -> str:
        text = ""
        for token in ids:
            if token == 30:
                self.half = True
            elif token == 31:
                text, self.half = text + "ü", False
            else:
                text += WORDS.get(token, "")
        return text

    def flush(self) -> str:
        half, self.half = self.half, False
        return "\ufffd" if half else ""


def stream(room: int = 100, **params: Any) -> TextStream:
    return TextStream(SamplingParams(**params), WordDecoder(), eos_ids=(EOS,), room=room)


def run(text_stream: TextStream, tokens: Sequence[int]) -> tuple[str, Emission, int]:
    text = ""
    for used, token in enumerate(tokens, start=1):
        emission = text_stream.step(token)
        text += emission.text
        if emission.finish_reason is not None:
            return text, emission, used
    return text, emission, used


@pytest.mark.parametrize(
    ("params", "room", "tokens", "text", "finish", "reason", "used"),
    [
        ({}, 100, [10, 11, EOS, 10], "ab", "stop", None, 3),
        ({"stop_token_ids": (11,)}, 100, [10, 11, 10], "a", "stop", 11, 2),
        ({"stop": ("stop",)}, 100, [10, 12, 10], "a ", "stop", "stop", 2),
        ({"stop": ("stop",)}, 100, [10, 13, 14, 10], "a", "stop", "stop", 3),
        ({"stop": ("stop",)}, 100, [10, 13, 10, EOS], "asta", "stop", None, 4),
        ({"stop": ("stop",)}, 100, [10, 13, EOS], "ast", "stop", None, 3),
        ({"max_tokens": 2}, 100, [10, 11, 10], "ab", "length", None, 2),
        ({"max_tokens": 2, "stop": ("stop",)}, 100, [10, 13, 10], "ast", "length", None, 2),
        ({"max_tokens": None}, 3, [10, 11, 10, 11], "aba", "length", None, 3),
        ({"max_tokens": 9}, 3, [10, 11, 10, 11], "aba", "length", None, 3),
        ({"max_tokens": 3}, 100, [10, 11, EOS], "ab", "stop", None, 3),
        ({"ignore_eos": True, "max_tokens": 4}, 100, [10, EOS, 11, 10, 10], "aba", "length", None, 4),
        ({"ignore_eos": True, "stop_token_ids": (EOS,)}, 100, [10, EOS], "a", "stop", EOS, 2),
        ({"min_tokens": 3}, 100, [EOS, 10, EOS, 10], "a", "stop", None, 3),
        ({"min_tokens": 3, "stop": ("stop",)}, 100, [12, 10, 12, 10], " stopa ", "stop", "stop", 3),
        ({"max_tokens": 2}, 100, [10, 30], "a\ufffd", "length", None, 2),
        ({"max_tokens": 2, "stop": ("\ufffd",)}, 100, [10, 30], "a", "stop", "\ufffd", 2),
        ({}, 100, [30, 31, 10, EOS], "üa", "stop", None, 4),
    ],
)
def test_texts_end_where_they_should(
    params: dict[str, Any],
    room: int,
    tokens: list[int],
    text: str,
    finish: str,
    reason: str | int | None,
    used: int,
) -> None:
    got, emission, count = run(stream(room, **params), tokens)
    assert (got, emission.finish_reason, emission.stop_reason, count) == (text, finish, reason, used)


def test_a_finished_grammar_ends_the_text_even_before_min_tokens_and_at_the_length() -> None:
    early = stream(min_tokens=5)
    assert early.step(10, grammar_finished=True) == Emission("a", "stop")
    last = stream(max_tokens=1)
    assert last.step(10, grammar_finished=True) == Emission("a", "stop")
    ended = stream(min_tokens=5)
    assert ended.step(EOS, grammar_finished=True) == Emission("", "stop")


def test_a_stop_string_wins_over_a_grammar_that_finishes_with_it() -> None:
    assert stream(stop=("a",)).step(10, grammar_finished=True) == Emission("", "stop", "a")


def test_flush_shows_what_was_held_when_the_sequence_is_ended_from_outside() -> None:
    held = stream(stop=("stop",))
    assert held.step(13).text == ""
    assert held.step(30).text == ""
    assert held.flush() == "st\ufffd"
    assert held.flush() == ""


def test_a_token_after_the_end_is_refused() -> None:
    ended = stream()
    ended.step(EOS)
    with pytest.raises(ValueError, match="after the end"):
        ended.step(10)


@pytest.mark.parametrize("continues", [False, True])
def test_with_the_real_decoder_every_character_arrives_and_stop_strings_do_not(continues: bool) -> None:
    backend = small_tokenizer()
    tokenizer = Tokenizer(backend)
    text = "the red circle (12 é ü 😀), the yes"
    ids = backend.encode(text, add_special_tokens=False).ids
    for stops, expected in (((), text), (("12 é ü 😀",), "the red circle ("), ((")", "😀"), text[: text.index("😀")])):
        decoder = Detokenizer(tokenizer, continues=continues)
        shown, _, _ = run(TextStream(SamplingParams(stop=stops), decoder, eos_ids=(EOS,), room=999), [*ids, EOS])
        assert shown == (" " if continues else "") + expected


@pytest.mark.parametrize("continues", [False, True])
def test_a_constrained_text_arrives_exactly_as_the_constraint_says(continues: bool) -> None:
    backend = small_tokenizer()
    vocab = backend.get_vocab_size() + 10
    compiler = GrammarCompiler(backend, vocab, [EOS])
    sampler = Sampler(vocab, eos_ids=[EOS])
    seen = set()
    for seed in range(30):
        params = SamplingParams(temperature=1.0, constraint=Constraint("choice", ["yes", "no", "a red 12"]))
        matcher = compiler.compile(params.constraint, continues=continues)
        row = SamplingRow(params, (1, 5), seed)
        decoder = Detokenizer(Tokenizer(backend), continues=continues)
        text_stream, shown = TextStream(params, decoder, eos_ids=(EOS,), room=99), ""
        while text_stream.finish_reason is None:
            row.mask = matcher.mask()
            token = sampler.sample(torch.zeros(1, vocab), [row])[0].token_id
            row.append(token)
            matcher.accept(token)
            shown += text_stream.step(token, grammar_finished=matcher.finished).text
        assert text_stream.finish_reason == "stop"
        seen.add(shown)
    assert seen == {"yes", "no", "a red 12"}


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*WORDS, 30, 31, EOS]), max_size=30), st.integers(1, 12), st.integers(0, 12))
def test_the_text_never_contains_a_stop_string_and_is_never_longer_than_asked(
    tokens: list[int], max_tokens: int, min_tokens: int
) -> None:
    text_stream = stream(stop=("stop", "b\n"), max_tokens=max_tokens, min_tokens=min(min_tokens, max_tokens))
    tail, used = "", 0
    for token in tokens:
        emission = text_stream.step(token)
        used += 1
        tail += emission.text if used >= min_tokens else ""
        if emission.finish_reason is not None:
            break
    assert used <= max_tokens
    assert "stop" not in tail
    assert "b\n" not in tail
