"""One HTTP exchange: a body in, a whole answer or a stream of events out, and an end as soon as the client is gone."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from ..engine.errors import TriptychError

if TYPE_CHECKING:
    from .accounts.caller import Caller

log = logging.getLogger("triptych.server")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_KEEP_ALIVE = b": keep-alive\n\n"
_EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class BodyTooLargeError(Exception):
    """The body is over the limit of `most` bytes."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the body is over the limit of {most} bytes")
        self.most = most


class ClientGoneError(Exception):
    """The client went away, or does not read what it asked for."""


@dataclass(slots=True)
class Answer:
    """A whole answer; `body` is what goes out as it is."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Download:
    """A stored file on its way out: `size` bytes in `parts`."""

    parts: AsyncIterator[bytes]
    size: int
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Events:
    """Server-sent events, each as it goes out. `failed` makes what is sent when they break off with an error.

    The generator is closed however the exchange ends, so it is the one to clean up.
    """

    events: AsyncGenerator[bytes]
    failed: Callable[[Exception], bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


class Exchange:
    """What a handler knows of a request, and what is sent back. `headers` of the request have lower-case names.

    A stream without an event for `keep_alive` seconds shows that it is alive; a client that does not read for `unread`
    seconds counts as gone.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, keep_alive: float = 10.0, unread: float = 60.0
    ) -> None:
        self.started = time.perf_counter()
        self.scope = scope
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.request_id = request_id(self.headers)
        self.status = 0
        # What the log's line says beside the exchange itself: model, usage, finish_reason.
        self.told: dict[str, Any] = {}
        # Whose request it is: what the key is remembered by, "" on a server without keys. `caller` is None for work
        # that nobody waits for, and where a key was not asked for and none came.
        self.owner = ""
        self.caller: Caller | None = None
        # Why the caller is not known, where everybody is let in.
        self.unknown: Exception | None = None
        # Headers of the answer that say what the caller's key may still do.
        self.limits: dict[str, str] = {}
        # What it began so far, and the id of its row of usage where work may be done twice: then it is paid once.
        self.begun = 0
        self.row: str | None = None
        # Work that nobody waits for goes behind what somebody waits for.
        self.background = False
        self._receive = receive
        self._send = send
        self._keep_alive = keep_alive
        self._unread = unread
        self._last_event = 0.0

    @property
    def sees(self) -> str | None:
        """Whose rows the caller sees: None is everybody's, which an administrator sees."""
        return self.owner if self.caller is None else self.caller.sees

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of several with one name the last."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    async def body(self, most: int) -> bytes:
        """The whole body. Raises BodyTooLargeError before more than `most` bytes are held, ClientGoneError."""
        parts = [part async for part in self.parts(most)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def parts(self, most: int) -> AsyncGenerator[bytes]:
        """The body as it comes in. Raises BodyTooLargeError once it is over `most` bytes, ClientGoneError."""
        announced = self.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > most:
            raise BodyTooLargeError(most)
        size = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise BodyTooLargeError(most)
            yield part
            more = message.get("more_body", False)

    async def while_connected(self, work: Awaitable[None]) -> bool:
        """Run `work`, and cancel it when the client goes away; whether it ran to its end."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
        if task.cancelled():
            return False
        task.result()
        return True

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    # ---- out --------------------------------------------------------------------------------------------------------

    async def answer(self, answer: Answer) -> None:
        headers = self._headers(answer.headers)
        headers.append((b"content-type", answer.content_type.encode()))
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await self._begin(answer.status, headers)
        body = b"" if self.scope["method"] == "HEAD" else answer.body
        await self._send({"type": "http.response.body", "body": body})

    async def download(self, download: Download) -> None:
        """Send a file part by part. If it breaks off the connection does too: nobody takes half of it for the whole."""
        headers = self._headers(download.headers)
        headers.append((b"content-type", download.content_type.encode("latin-1")))
        headers.append((b"content-length", str(download.size).encode()))
        await self._begin(200, headers)
        if self.scope["method"] != "HEAD":
            async for part in download.parts:
                async with self._patience():
                    await self._send({"type": "http.response.body", "body": part, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def _patience(self) -> AsyncGenerator[None]:
        """Raises ClientGoneError when what is sent here is not read in time."""
        try:
            async with asyncio.timeout(self._unread):
                yield
        except TimeoutError:
            raise ClientGoneError from None

    async def stream(self, stream: Events) -> None:
        """Send events as they come. An error before the first one is raised, so that it can be a plain answer, unless
        the client had to be shown by then that the stream is alive.
        """
        pulse = asyncio.ensure_future(self._pulse(stream))
        try:
            async with aclosing(stream.events) as events:
                async for event in events:
                    await self._event(stream, event)
        except ClientGoneError:
            raise
        except Exception as error:
            if not self.status:
                raise
            log.warning("request %s broke off: %s", self.request_id, error, exc_info=_if_a_bug(error))
            await self._event(stream, stream.failed(error))
        finally:
            pulse.cancel()
        await self._send({"type": "http.response.body", "body": b""})

    async def _pulse(self, stream: Events) -> None:
        """Comments while there is no event; clients skip them, and nobody on the way takes the connection for dead."""
        self._last_event = time.monotonic()
        with suppress(ClientGoneError):  # the next event finds out too
            while True:
                silent = time.monotonic() - self._last_event
                if silent < self._keep_alive:
                    await asyncio.sleep(self._keep_alive - silent)
                else:
                    await self._event(stream, _KEEP_ALIVE)

    async def _event(self, stream: Events, event: bytes) -> None:
        self._last_event = time.monotonic()
        async with self._patience():
            if not self.status:
                given = self._headers(stream.headers)
                taken = {name for name, _ in given}
                await self._begin(200, [*given, *(header for header in _EVENT_STREAM if header[0] not in taken)])
            await self._send({"type": "http.response.body", "body": event, "more_body": True})

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _headers(self, more: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", self.request_id.encode())]
        told = {**self.limits, **more} if self.limits else more
        return headers + [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told.items()]


def unattended(path: str, owner: str, row: str | None = None) -> Exchange:
    """An exchange that nobody waits for: work of `owner`, as if it had come to `path`; `row` is the id of its row of
    usage.
    """

    async def receive() -> Message:
        raise ClientGoneError

    async def send(message: Message) -> None:
        raise ClientGoneError

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [], "path_params": {}}
    exchange = Exchange(scope, receive, send)
    exchange.owner, exchange.row, exchange.background = owner, row, True
    return exchange


def _if_a_bug(error: Exception) -> Exception | None:
    return None if isinstance(error, TriptychError) else error


def request_id(headers: Mapping[str, str]) -> str:
    """The caller's own id if it is short and printable, else a new one."""
    for name in ("x-request-id", "x-client-request-id"):
        given = headers.get(name, "")
        if 0 < len(given) <= 128 and given.isascii() and given.isprintable():
            return given
    return f"req_{secrets.token_hex(16)}"
