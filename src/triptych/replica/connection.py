"""One end of a socket that carries frames, for asyncio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from .protocol import Frame, ProtocolError, Unpacker, packed

log = logging.getLogger("triptych.replica")

# A reader that lets this much pile up is not reading any more.
MOST_UNSENT = 64 << 20


class Connection(asyncio.Protocol):
    """Frames in and out. `on_frame` is called for each that arrives, `on_lost` once at the end with the reason.

    What is sent in one turn of the event loop goes out in one write, without waiting for more: a frame is never held
    back. A peer that does not read is cut off once `MOST_UNSENT` bytes wait for it.
    """

    def __init__(self, kinds: Any, on_frame: Callable[[Any], None], on_lost: Callable[[str], None]) -> None:
        self._unpacker = Unpacker(kinds)
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._reason = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._unpacker.feed(data):
                self._on_frame(frame)
        except ProtocolError as error:
            self.cut(str(error))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._on_lost(self._reason or (f"the connection broke: {error}" if error else "the other side closed"))

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, frame: Frame) -> None:
        """Send a frame; on a closed connection nothing happens (`on_lost` tells)."""
        if not self.open:
            return
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed(frame))

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(b"".join(unsent))
        waiting = self._transport.get_write_buffer_size()
        if waiting > MOST_UNSENT:
            self.cut(f"the other side does not read: {waiting} bytes wait for it")

    def close(self) -> None:
        """Send what is left, then close."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def cut(self, reason: str) -> None:
        """Close at once; `reason` goes to `on_lost` and into the log."""
        log.warning("a connection was cut off: %s", reason)
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()


def parse_address(address: str) -> str | tuple[str, int]:
    """`unix:PATH` or `tcp:HOST:PORT` -> a path, or host and port. Raises ValueError."""
    kind, _, rest = address.partition(":")
    if kind == "unix" and rest:
        return rest
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isdigit():
        return host.strip("[]"), int(port)
    raise ValueError(f"{address!r} is no address of a replica: write unix:PATH or tcp:HOST:PORT")


async def connect(address: str, make: Callable[[], Connection]) -> Connection:
    """Open a connection to a replica's `address`. Raises OSError."""
    loop = asyncio.get_running_loop()
    place = parse_address(address)
    if isinstance(place, str):
        _, connection = await loop.create_unix_connection(make, place)
    else:
        _, connection = await loop.create_connection(make, *place)
    return connection


async def listen(address: str, make: Callable[[], Connection]) -> asyncio.Server:
    """Accept connections at `address`. Raises OSError."""
    loop = asyncio.get_running_loop()
    place = parse_address(address)
    if isinstance(place, str):
        return await loop.create_unix_server(make, place)
    return await loop.create_server(make, *place)
