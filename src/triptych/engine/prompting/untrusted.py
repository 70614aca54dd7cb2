"""Keeping what a user types from acting as special tokens.

A literal `</s>` or `<image>` in a question must reach the model as those characters. While a template handles
the user's text, the characters that special tokens begin and end with are replaced by private stand-ins, one
for one; the special tokens found in the rendered text are then the template's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .tokenizer import Tokenizer

_STAND_INS = range(0x100000, 0x10FFFD)  # Unicode plane 16: private use


class Guard:
    """Hides the `texts` of one conversation from the special tokens of `tokenizer`."""

    def __init__(self, tokenizer: Tokenizer, texts: Iterable[str]) -> None:
        self._tokenizer = tokenizer
        specials = [text for text in tokenizer.special_texts if text]
        edges = sorted({edge for text in specials for edge in (text[0], text[-1])})
        taken = set().union(*texts)
        free = (chr(code) for code in _STAND_INS if chr(code) not in taken)
        self.mark = next(free)  # one more character that no text has, for the caller's use
        self._hide = {ord(edge): next(free) for edge in edges}
        self._show = {ord(stand_in): chr(edge) for edge, stand_in in self._hide.items()}
        self._special = re.compile("|".join(map(re.escape, specials)) or r"(?!)")

    def hide(self, text: str) -> str:
        """`text` as the template may see it; as long as before."""
        return text.translate(self._hide)

    def show(self, text: str) -> str:
        """A rendered text as it is meant."""
        return text.translate(self._show)

    def encode(self, rendered: str) -> list[int]:
        """Ids of a text rendered from hidden texts: only what the template wrote becomes special tokens."""
        trusted = self._spans(rendered)
        text = self.show(rendered)
        if trusted == self._spans(text):  # the users spelled no special token
            return self._tokenizer.encode(text)
        return self._tokenizer.encode_literal(text, trusted)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in self._special.finditer(text)]
