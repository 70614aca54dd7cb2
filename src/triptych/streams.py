"""Text that arrives piece by piece, for `for` and for `async for`. Leaving early aborts the generation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from .completion import Collector, Completion
from .engine.request import Event

if TYPE_CHECKING:
    from .engine.handle import RequestHandle


class TextStream:
    """Iterator of text pieces; `completion` is the whole result once it is exhausted.

    Closing it, leaving its `with` block, or dropping it before the end aborts the generation. Raises the
    request's own error when it fails.
    """

    def __init__(self, handle: RequestHandle, model: str) -> None:
        self._handle = handle
        self._events: Iterator[Event] = iter(handle)
        self._collector = Collector(model, 1)
        self._completion: Completion | None = None

    def __iter__(self) -> TextStream:
        return self

    def __next__(self) -> str:
        try:
            for event in self._events:
                if piece := self._collector.add(event):
                    return piece
        except BaseException:
            # Ctrl-C lands here: the engine must not go on for a reader that is gone.
            self.close()
            raise
        if self._completion is None and self._collector.done:
            self._completion = self._collector.completion()
        raise StopIteration

    @property
    def completion(self) -> Completion:
        """The whole result. Reads what is left of the stream first."""
        for _ in self:
            pass
        return self._completion or self._collector.completion()

    def close(self) -> None:
        if not self._collector.done:
            self._handle.abort()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class EventBridge:
    """Carries events from the engine's thread into the event loop that created it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event] = asyncio.Queue()

    def __call__(self, event: Event) -> None:
        with suppress(RuntimeError):  # the consumer's loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(self._queue.put_nowait, event)

    async def next(self) -> Event:
        return await self._queue.get()


class AsyncTextStream:
    """`TextStream` for `async for`; a cancelled or finished consumer aborts the generation."""

    def __init__(self, handle: RequestHandle, bridge: EventBridge, model: str, choices: int = 1) -> None:
        self._handle = handle
        self._bridge = bridge
        self._collector = Collector(model, choices)

    def __aiter__(self) -> AsyncTextStream:
        return self

    async def __anext__(self) -> str:
        while not self._collector.done:
            try:
                event = await self._bridge.next()
            except asyncio.CancelledError:
                self._handle.abort()
                raise
            if piece := self._collector.add(event):
                return piece
        self._collector.completion()  # raises the request's error, if it has one
        raise StopAsyncIteration

    async def completion(self) -> Completion:
        """The whole result. Reads what is left of the stream first."""
        async for _ in self:
            pass
        return self._collector.completion()

    async def aclose(self) -> None:
        self._abort()

    def _abort(self) -> None:
        if not self._collector.done:
            self._handle.abort()

    async def __aenter__(self) -> AsyncTextStream:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        self._abort()

    def __del__(self) -> None:
        self._abort()
