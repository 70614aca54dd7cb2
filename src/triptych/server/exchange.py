"""One HTTP exchange: a body in, a whole answer or a stream of events out, and an end as soon as the client is gone."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Seconds without an event before a stream shows that it is alive, and how long a client may not read.
KEEP_ALIVE_AFTER = 10.0
_UNREAD_FOR = 60.0
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
    """The client went away before its body was complete."""


@dataclass(slots=True)
class Answer:
    """A whole answer; `body` is what goes out as it is."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Events:
    """Server-sent events, each as it goes out. `failed` makes what is sent when they break off with an error."""

    events: AsyncIterator[bytes]
    failed: Callable[[Exception], bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


class Exchange:
    """What a handler knows of a request, and what is sent back. `headers` of the request have lower-case names."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started = time.perf_counter()
        self.scope = scope
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.request_id = _request_id(self.headers)
        self.status = 0
        self._receive = receive
        self._send = send

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of several with one name the last."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    async def body(self, most: int) -> bytes:
        """The whole body. Raises BodyTooLargeError before more than `most` bytes are held, ClientGoneError."""
        if int(self.headers.get("content-length") or 0) > most:
            raise BodyTooLargeError(most)
        parts, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise BodyTooLargeError(most)
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def while_connected(self, work: Awaitable[None]) -> bool:
        """Run `work`, and cancel it when the client goes away; whether it ran to its end."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
                return True
            return False
        finally:
            for each in (task, gone):
                each.cancel()
                with suppress(asyncio.CancelledError):
                    await each

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

    async def stream(self, stream: Events) -> None:
        """Send events as they come. An error before the first one is raised, so that it can be a plain answer."""
        events = aiter(stream.events)
        first = asyncio.ensure_future(anext(events, None))
        try:
            await asyncio.wait((first,), timeout=KEEP_ALIVE_AFTER)
            if not first.done():
                await self._begin_stream(stream)
                while not first.done():
                    await self._event(_KEEP_ALIVE)
                    await asyncio.wait((first,), timeout=KEEP_ALIVE_AFTER)
            event = await first
            if not self.status:
                await self._begin_stream(stream)
            while event is not None:
                await self._event(event)
                event = await anext(events, None)
        except Exception as error:
            if not self.status:
                raise
            await self._event(stream.failed(error))
        finally:
            first.cancel()
        await self._send({"type": "http.response.body", "body": b""})

    async def _begin_stream(self, stream: Events) -> None:
        await self._begin(200, [*self._headers(stream.headers), *_EVENT_STREAM])

    async def _event(self, event: bytes) -> None:
        async with asyncio.timeout(_UNREAD_FOR):
            await self._send({"type": "http.response.body", "body": event, "more_body": True})

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _headers(self, more: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", self.request_id.encode())]
        return headers + [(name.encode("latin-1"), value.encode("latin-1")) for name, value in more.items()]


def _request_id(headers: Mapping[str, str]) -> str:
    """The caller's own id if it is short and printable, else a new one."""
    for name in ("x-request-id", "x-client-request-id"):
        given = headers.get(name, "")
        if 0 < len(given) <= 128 and given.isascii() and given.isprintable():
            return given
    return f"req_{secrets.token_hex(16)}"
