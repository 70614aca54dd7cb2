"""How the server stops: what is under way comes to its end first, as far as there is time for it."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time

import uvicorn

from .app import App

log = logging.getLogger("triptych.server")

# Seconds between two looks at whether the operator has lost patience.
_LOOK_EVERY = 0.1


class Server(uvicorn.Server):
    """uvicorn's, which would break off every WebSocket the moment it is told to stop. Here they have the time that
    requests have: no new connection and no new work is taken, and within `drain` seconds what was taken is answered.
    """

    def __init__(self, config: uvicorn.Config, app: App, drain: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in self.servers:
            listener.close()
        until = time.monotonic() + self._drain
        draining = asyncio.ensure_future(self._app.drain())
        while not (draining.done() or self.force_exit) and (left := until - time.monotonic()) > 0:
            await asyncio.wait((draining,), timeout=min(left, _LOOK_EVERY))
        draining.cancel()
        await asyncio.wait((draining,))
        if not draining.cancelled() and (error := draining.exception()) is not None:
            log.error("WebSockets are broken off: %s", error, exc_info=error)
        # What is left of it is for requests. uvicorn takes whole seconds, and nothing for ever.
        self.config.timeout_graceful_shutdown = max(1, math.ceil(until - time.monotonic()))
        await super().shutdown(sockets)
