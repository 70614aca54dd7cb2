"""What a client has under way, whichever of its connections it comes by: it may come back and get the rest."""

from __future__ import annotations

import asyncio
import uuid as uuids
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from ...exchange import ClientGoneError
from ...websocket import WebSocket

# What nobody has read yet is kept for so many seconds after the connection broke, and so many frames of it.
KEPT = 120.0
_MOST_KEPT = 1000
# RFC 6455's code of a server that comes back: whatever its client had not heard of yet, it sends again to the next one.
_RESTART = 1012
# Seconds between two looks at whether a session that shall end is idle.
_LOOK_EVERY = 0.05


class Session:
    """One caller's. `pushing` are predictions of whose end it is told without asking again."""

    def __init__(self, owner: str) -> None:
        self.id = str(uuids.uuid4())
        self.owner = owner
        self.socket: WebSocket | None = None
        self.pushing: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._reading = 0
        self._unread: deque[str] = deque(maxlen=_MOST_KEPT)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to come back for."""
        return not self.tasks and not self._unread

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that ends with something to tell."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def deliver(self, frame: str) -> None:
        """Send a frame, or keep it for the connection that comes next."""
        socket = self.socket
        if socket is not None and not socket.gone:
            try:
                return await socket.send(frame)
            except ClientGoneError:
                pass
        if self.socket not in (None, socket):  # there is another one by now
            return await self.deliver(frame)
        self._unread.append(frame)

    async def attach(self, socket: WebSocket) -> None:
        """Go on over another connection, which gets what nobody has read."""
        self.socket = socket
        while self._unread and self.socket is socket and not socket.gone:
            await self.deliver(self._unread.popleft())

    @contextmanager
    def read(self) -> Iterator[None]:
        """Somebody takes a frame apart: it may become work."""
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1

    async def drain(self) -> None:
        """Close its connection once it has heard the outcome of everything."""
        while self.tasks or self._reading:
            await asyncio.sleep(_LOOK_EVERY)
        if self.socket is not None:
            await self.socket.close(_RESTART)

    def end(self) -> None:
        """Nobody comes back. Predictions go on without it."""
        for task in self.tasks:
            task.cancel()


class Sessions:
    """All of a server."""

    def __init__(self, kept: float = KEPT) -> None:
        self._kept = kept
        self._left: dict[str, tuple[Session, asyncio.TimerHandle]] = {}
        self._connected: dict[str, Session] = {}

    def open(self, owner: str) -> Session:
        """A new one."""
        session = Session(owner)
        self._connected[session.id] = session
        return session

    def find(self, owner: str, session_id: Any) -> Session | None:
        """The caller's session with this id, if it is there still; also one whose connection nobody has missed yet."""
        if not isinstance(session_id, str):
            return None
        found, timer = self._left.get(session_id, (self._connected.get(session_id), None))
        if found is None or found.owner != owner:
            return None
        if timer is not None:
            timer.cancel()
            del self._left[session_id]
            self._connected[session_id] = found
        return found

    def leave(self, session: Session, socket: WebSocket) -> None:
        """A connection is over; if it was the session's, what is under way waits for another one for a while."""
        if session.socket not in (None, socket):
            return
        session.socket = None
        self._connected.pop(session.id, None)
        if not session.idle:
            timer = asyncio.get_running_loop().call_later(self._kept, self._forget, session)
            self._left[session.id] = (session, timer)

    def _forget(self, session: Session) -> None:
        self._left.pop(session.id, None)
        session.end()

    async def drain(self) -> None:
        """Close all connections: at once where nothing is under way, the others when they have heard of everything."""
        await asyncio.gather(*(session.drain() for session in [*self._connected.values()]))

    async def start(self) -> None:
        """Nothing is kept between servers."""

    async def stop(self) -> None:
        """End what is under way: predictions are kept, and whoever comes back asks for them."""
        sessions = [*self._connected.values(), *(session for session, _ in self._left.values())]
        for _, timer in self._left.values():
            timer.cancel()
        tasks = [task for session in sessions for task in session.tasks]
        for session in sessions:
            session.end()
        if tasks:
            await asyncio.wait(tasks)
