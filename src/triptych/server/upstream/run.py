"""A generation at an upstream: one request, asked again while nothing of its answer has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress

import aiohttp

from ...engine.errors import EngineStoppedError
from ..generation import Admitted, End, Generation, Piece, UpstreamError
from .answer import DONE, AnswerReader
from .body import Sent, Target, build
from .connection import Connection
from .events import EventReader, EventTooLargeError
from .failure import FailedError

# A request that delivered nothing is sent this many times.
_TRIES = 3
# Seconds that a stream has to end after its last word.
_LAST_BYTES = 0.05


class UpstreamRun:
    """A generation at the upstream behind `connection`, which a task of its own asks for and reads: what comes waits
    here, as a replica's does, and the upstream never waits for a slow client.

    `look` tells what the request is for; `over` is called at the end, with what went wrong if anything did.
    """

    def __init__(
        self,
        generation: Generation,
        name: str,
        connection: Connection,
        look: Callable[[], Awaitable[Target]],
        over: Callable[[UpstreamRun, Exception | None], None],
    ) -> None:
        self.end: End | None = None
        self._told: End | None = None
        self._generation = generation
        self._name = name
        self._connection = connection
        self._look = look
        self._over = over
        self._accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrived: asyncio.Queue[list[Piece] | End | Exception] = asyncio.Queue()
        self._task = asyncio.create_task(self._work())
        self._task.add_done_callback(self._done)

    async def admission(self) -> Admitted:
        """Wait until the upstream has begun its answer. How long the prompt is, it tells with the usage at the end."""
        await asyncio.shield(self._accepted)
        return Admitted(self._generation.request_id, None, 0)

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        while self.end is None:
            event = await self._arrived.get()
            if isinstance(event, Exception):
                self._arrived.put_nowait(event)  # whoever asks again hears it again
                raise event
            if isinstance(event, End):
                self.end = event
            else:
                yield event

    def abort(self) -> None:
        """Cut the connection, which stops the generation there."""
        self._task.cancel()

    async def ended(self) -> None:
        """Wait until nothing goes on any more."""
        await asyncio.wait((self._task,))

    async def final(self) -> End | None:
        await self.ended()
        return self._told

    # ---- the task ---------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            end = await self._tried()
        except FailedError as failed:
            self._fail(failed.error)
        except Exception as error:
            self._fail(error)
        else:
            self._told = end
            self._arrived.put_nowait(end)
            self._over(self, None)

    def _fail(self, error: Exception) -> None:
        if not self._accepted.done():
            self._accepted.set_exception(error)
            self._accepted.exception()  # it is no bug if nobody waits for it
        self._arrived.put_nowait(error)
        self._over(self, error)

    def _done(self, task: asyncio.Task[None]) -> None:
        """Called at the very end, also of a task that was cancelled before it began."""
        if task.cancelled():
            self._fail(EngineStoppedError("the request was aborted"))

    async def _tried(self) -> End:
        """Ask until there is an answer. Nothing is asked again once a part of it was delivered."""
        sent = await build(self._generation, await self._look())
        times = self._connection.times
        pause = times.pause
        for number in range(1, _TRIES + 1):
            reader = AnswerReader(self._generation.params, self._name, self._connection.key, sent.images)
            try:
                return await self._asked(sent, reader)
            except FailedError as failed:
                wait = max(pause, failed.retry_after)
                if not failed.again or reader.delivered or number == _TRIES or wait > times.longest_pause:
                    raise
                await asyncio.sleep(wait)
                pause *= 2
        raise AssertionError("the last try returns or raises")

    async def _asked(self, sent: Sent, reader: AnswerReader) -> End:
        async with self._connection.post(sent.path, sent.body, sent.images) as answer:
            if not self._accepted.done():
                self._accepted.set_result(None)
            kind = answer.content_type
            if kind == "text/event-stream" and sent.stream:
                await self._stream(answer, reader)
            elif kind == "application/json":  # also from a server that has no streams
                self._deliver(reader.whole(await self._connection.whole(answer)))
            else:
                message = f"the server that answers for {self._name} sent {kind}, which is no answer"
                raise FailedError(UpstreamError(message))
        return reader.end()

    async def _stream(self, answer: aiohttp.ClientResponse, reader: AnswerReader) -> None:
        try:
            async with aclosing(_events(answer)) as events:
                async for event in events:
                    if event.strip() == DONE:
                        break
                    self._deliver(reader.chunk(event))
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_BYTES):  # read to its end a connection can be used again
                    await answer.content.read()
        except EventTooLargeError as error:
            message = f"the server that answers for {self._name} sent {error}"
            raise FailedError(UpstreamError(message)) from None

    def _deliver(self, pieces: list[Piece]) -> None:
        if pieces:
            self._arrived.put_nowait(pieces)


async def _events(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    reader = EventReader()
    async for data in answer.content.iter_any():
        for event in reader.feed(data):
            yield event
    if (rest := reader.rest()) is not None:
        yield rest
