"""A way to a server that breaks off when it is told to: what is between clients and servers now and then does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Dropping:
    """Passes everything on. `drops` counts the connections that it broke off."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self._armed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = self.drops = self.connections = 0

    def drop_next(self) -> None:
        """Pass on the next thing that a client says, and then break off before it is answered."""
        self._armed = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
        ways = [asyncio.create_task(self._pass(reader, back, True)), asyncio.create_task(self._pass(there, writer))]
        self._tasks.update(ways)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for each in (writer, back):
            each.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, asks: bool = False) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                to.write(data)
                await to.drain()
                # A ping is shorter than any task.
                if asks and self._armed and len(data) > 100:
                    self._armed = False
                    self.drops += 1
                    return


@asynccontextmanager
async def dropping(url: str) -> AsyncIterator[Dropping]:
    way = Dropping(url)
    server = await asyncio.start_server(way.serve, "127.0.0.1", 0)
    way.port = server.sockets[0].getsockname()[1]
    yield way
    server.close()
