"""Sampled tokens to text, one sequence at a time, and when the text ends."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..request import FinishReason, SamplingParams
from .stopping import StopMatcher


class TextDecoder(Protocol):
    """Token ids to text, holding back incomplete characters."""

    def push(self, ids: Sequence[int]) -> str: ...

    def flush(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Emission:
    """What one token added: `text` may be empty; the reasons are set on the last one.

    `stop_reason` is the stop string or the stop token id that ended the text; None for eos, for a finished
    grammar and for the length.
    """

    text: str
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None


class TextStream:
    """The text of one sequence as its tokens come.

    `eos_ids` and the parameters' stop ids end the text without being part of it, so does a stop string.
    `room` is how many tokens the context has left after the prompt. Stop strings and ids count from the
    `min_tokens`-th token on.
    """

    def __init__(
        self, params: SamplingParams, decoder: TextDecoder, *, eos_ids: Collection[int], room: int
    ) -> None:
        self._decoder = decoder
        self._stopper = StopMatcher(params.stop)
        self._stop_ids = frozenset(params.stop_token_ids)
        self._eos_ids = frozenset() if params.ignore_eos else frozenset(eos_ids)
        self._min_tokens = params.min_tokens
        self._max_tokens = room if params.max_tokens is None else min(params.max_tokens, room)
        self.count = 0
        self.finish_reason: FinishReason | None = None

    def step(self, token_id: int, *, grammar_finished: bool = False) -> Emission:
        """Takes the next token; `grammar_finished` says that it completed the constraint.

        Raises ValueError after the end.
        """
        if self.finish_reason is not None:
            raise ValueError("a token came after the end of its text")
        self.count += 1
        may_stop = self.count >= self._min_tokens
        if may_stop and token_id in self._stop_ids:
            return self._end("", "stop", token_id)
        if (may_stop or grammar_finished) and token_id in self._eos_ids:
            return self._end("", "stop")
        text = self._pass(self._decoder.push([token_id]), may_stop)
        if self._stopper.matched is not None:
            return self._stopped(text)
        if grammar_finished:
            return self._end(text, "stop")
        if self.count >= self._max_tokens:
            return self._end(text, "length")
        return Emission(text)

    def flush(self) -> str:
        """The text still held back, for a sequence that is ended from outside."""
        return self._pass(self._decoder.flush(), self.count >= self._min_tokens) + self._stopper.flush()

    def _pass(self, text: str, may_stop: bool) -> str:
        return self._stopper.push(text)[0] if may_stop else text

    def _end(self, text: str, reason: FinishReason, stop_reason: int | None = None) -> Emission:
        text += self.flush()
        if self._stopper.matched is not None:  # the last characters completed a stop string
            return self._stopped(text)
        self.finish_reason = reason
        return Emission(text, reason, stop_reason)

    def _stopped(self, text: str) -> Emission:
        self.finish_reason = "stop"
        return Emission(text, "stop", self._stopper.matched)
