"""What a finished generation looks like to a Python caller, and how it is put together from engine events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .engine.errors import EngineStoppedError
from .engine.request import Delta, Event, Finished, FinishReason, Timing, TokenLogprob, Usage


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the `n` continuations of a prompt.

    `stop_reason` is the stop string or stop token id that ended the text, if one did. `logprobs` has one entry
    per token when they were asked for, else it is empty.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    stop_reason: str | int | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished generation. `text`, `token_ids`, `finish_reason` and `logprobs` are those of the first choice.

    `usage` counts tokens exactly (prompt, cached, image, generated over all choices); `timing` is in seconds.
    """

    choices: tuple[Choice, ...]
    usage: Usage
    timing: Timing
    model: str
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None

    @property
    def text(self) -> str:
        return self.choices[0].text

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.choices[0].token_ids

    @property
    def finish_reason(self) -> FinishReason:
        return self.choices[0].finish_reason

    @property
    def stop_reason(self) -> str | int | None:
        return self.choices[0].stop_reason

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]:
        return self.choices[0].logprobs

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class _Growing:
    """One choice while its deltas arrive."""

    pieces: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason = "abort"
    stop_reason: str | int | None = None

    def add(self, delta: Delta) -> None:
        self.pieces.append(delta.text)
        self.token_ids.extend(delta.token_ids)
        self.logprobs.extend(delta.logprobs)
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
            self.stop_reason = delta.stop_reason

    def frozen(self) -> Choice:
        return Choice(
            "".join(self.pieces),
            tuple(self.token_ids),
            self.finish_reason,
            self.stop_reason,
            tuple(self.logprobs),
        )


class Collector:
    """Adds up the events of one request; `add` returns the new text of the first choice."""

    def __init__(self, model: str, choices: int) -> None:
        self._model = model
        self._growing = [_Growing() for _ in range(choices)]
        self._finished: Finished | None = None

    def add(self, event: Event) -> str:
        if isinstance(event, Finished):
            self._finished = event
            return ""
        self._growing[event.index].add(event)
        return event.text if event.index == 0 else ""

    @property
    def done(self) -> bool:
        return self._finished is not None

    def completion(self) -> Completion:
        """The whole result; raises the request's own error if it failed."""
        end = self._finished
        if end is None:
            raise EngineStoppedError("the generation ended before it was finished: it was aborted or the engine closed")
        if end.error is not None:
            raise end.error
        return Completion(
            tuple(growing.frozen() for growing in self._growing),
            end.usage,
            end.timing,
            self._model,
            end.prompt_logprobs,
        )


def collect(events: Iterable[Event], model: str, choices: int) -> Completion:
    """Reads `events` to their end and returns the result; raises the request's own error if it failed."""
    collector = Collector(model, choices)
    for event in events:
        collector.add(event)
    return collector.completion()
