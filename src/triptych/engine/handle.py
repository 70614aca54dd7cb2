"""The caller's end of a submitted request: events as they happen, abort at any time. Thread-safe."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .request import Delta, Event, Finished, FinishReason, Request, Timing, TokenLogprob, Usage

log = logging.getLogger("triptych.engine")

EventCallback = Callable[[Event], None]


@dataclass(slots=True)
class Choice:
    """One finished continuation."""

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None


@dataclass(slots=True)
class Result:
    """Everything a request produced."""

    request_id: str
    choices: list[Choice]
    usage: Usage
    timing: Timing
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None


class ResultBuilder:
    """Folds events into a Result."""

    def __init__(self, request: Request) -> None:
        self._request_id = request.request_id
        self._choices = [Choice(index) for index in range(request.params.n)]

    def add(self, delta: Delta) -> None:
        choice = self._choices[delta.index]
        choice.text += delta.text
        choice.token_ids.extend(delta.token_ids)
        choice.logprobs.extend(delta.logprobs)
        if delta.finish_reason is not None:
            choice.finish_reason, choice.stop_reason = delta.finish_reason, delta.stop_reason

    def finish(self, finished: Finished) -> Result:
        """Raises the request's error if it failed."""
        if finished.error is not None:
            raise finished.error
        return Result(
            self._request_id, self._choices, finished.usage, finished.timing, finished.prompt_logprobs
        )


class RequestHandle:
    """Iterate it for the events, ending with `Finished`; or take the `result`.

    Events go to `on_event` instead when one was given: it is called on the engine's thread and must be quick. If
    it raises, nobody is listening any more: the request is aborted.
    """

    def __init__(
        self,
        request: Request,
        abort: Callable[[str], None],
        on_end: Callable[[str], None],
        on_event: EventCallback | None = None,
    ) -> None:
        self.request = request
        self._abort = abort
        self._on_end = on_end
        self._elsewhere = on_event is not None
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._deliver: EventCallback = on_event or self._events.put

    def deliver(self, event: Event) -> None:
        """Called by the engine."""
        if isinstance(event, Finished):
            self._on_end(self.request.request_id)
        try:
            self._deliver(event)
        except Exception:
            log.exception("the event callback of request %s failed", self.request.request_id)
            self.abort()

    def abort(self) -> None:
        """Stops the request; its `Finished` still comes, with the usage until then."""
        self._abort(self.request.request_id)

    def __iter__(self) -> Iterator[Event]:
        """Raises ValueError when the events go to a callback: waiting for them here would never end."""
        if self._elsewhere:
            raise ValueError(f"the events of request {self.request.request_id} go to its on_event")
        return self._received()

    def _received(self) -> Iterator[Event]:
        while True:
            event = self._events.get()
            yield event
            if isinstance(event, Finished):
                return

    def result(self) -> Result:
        """Waits for the end. Raises the request's error if it failed."""
        builder = ResultBuilder(self.request)
        for event in self:
            if isinstance(event, Finished):
                return builder.finish(event)
            builder.add(event)
        raise AssertionError("events ended without Finished")
