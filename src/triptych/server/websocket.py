"""One WebSocket: messages in, in their order; texts out, from whatever has something to say; and an end as soon as the
client is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from urllib.parse import parse_qsl

from .exchange import ClientGoneError, Receive, Scope, Send, request_id

# Seconds for the word of farewell to a client that may not read any more.
_LAST_WORDS = 5.0


class WebSocket:
    """`headers` of the request have lower-case names. A client that does not read for `unread` seconds counts as gone.

    What is below may hold some tens of kilobytes for a slow reader; then `send` waits, and so does who has more to say.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, unread: float = 60.0) -> None:
        self.scope = scope
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.request_id = request_id(self.headers)
        self._receive = receive
        self._send = send
        self._unread = unread
        self._sending = asyncio.Lock()
        self._gone = asyncio.Event()

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of several with one name the last."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    @property
    def gone(self) -> bool:
        """Whether nothing more can be said."""
        return self._gone.is_set()

    async def accept(self) -> None:
        """Open it. Raises ClientGoneError."""
        await self._receive()  # its "connect"
        await self._tell({"type": "websocket.accept"})

    async def refuse(self) -> None:
        """Answer the handshake with 403."""
        await self._receive()
        await self._tell({"type": "websocket.close"})
        self._gone.set()

    async def receive(self) -> str | bytes:
        """The next message. Raises ClientGoneError."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self._gone.set()
            raise ClientGoneError
        text = message.get("text")
        return text if text is not None else message.get("bytes") or b""

    async def send(self, text: str) -> None:
        """Send one text as one message. Raises ClientGoneError, also when the client does not read in time."""
        await self._tell({"type": "websocket.send", "text": text})

    async def close(self, code: int, reason: str = "") -> None:
        """Say goodbye with one of RFC 6455's codes; to a client that is gone, nothing."""
        with suppress(ClientGoneError, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._tell({"type": "websocket.close", "code": code, "reason": reason})
        self._gone.set()

    async def _tell(self, message: dict[str, object]) -> None:
        try:
            async with asyncio.timeout(self._unread), self._sending:
                if self.gone:
                    raise ClientGoneError
                await self._send(message)
        except (TimeoutError, OSError):
            self._gone.set()
            raise ClientGoneError from None

    async def while_connected(self, work: Awaitable[None]) -> None:
        """Run `work`, and cancel it when the client is found to be gone."""
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (task, gone):
                each.cancel()
            await asyncio.wait((task, gone))
        if not task.cancelled():
            with suppress(ClientGoneError):
                task.result()
