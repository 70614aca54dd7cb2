"""Tasks over a WebSocket: the first frame says who it is, and every task is answered by frames of its own.

A frame from here has one outcome: `{"data": [item]}` or `{"errors": [error]}`. Clients lose data that comes beside
errors, take an empty array for a failure of everything, and hang when the answer to a key is not the first frame.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from ...accounts.errors import ForbiddenError, KeysUnknownError, RateLimitError, WrongKeyError
from ...endpoint import BodyTooLargeError, Doors, NotAcceptingError
from ...exchange import Receive, Scope, Send
from ...websocket import WebSocket
from .begun import Begun, Item, Outcome, Sender, Task, failed, finished, succeeded
from .errors import from_error
from .sessions import Session, Sessions
from .shown import DIALECT
from .tasks import AUTHENTICATION, PING, Tasks
from .wire import MOST_BEFORE_KEY, Named, UnreadableError, read_names, read_tasks, to_json

# RFC 6455's codes. Clients hang when a socket with work under way is closed with one of these, so only idle ones are.
_DONE, _AWAY = 1000, 1001
# Tasks that are about the connection.
_ITS_OWN = (AUTHENTICATION, PING)
_REFUSED = (WrongKeyError, KeysUnknownError, RateLimitError, ForbiddenError)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: until a socket has shown a key; after a wrong one (a client that is closed on at once comes back, or
    hangs); without a word when nothing is under way; and of a client that does not read.
    """

    key: float = 60.0
    wrong_key: float = 10.0
    idle: float = 300.0
    unread: float = 60.0


class SocketEndpoint:
    """The route. `origins` are pages that may connect to a server without keys, beside those of this machine."""

    def __init__(
        self, doors: Doors, tasks: Tasks, sessions: Sessions, origins: Collection[str], patience: Patience = Patience()
    ) -> None:
        self.doors = doors
        self.tasks = tasks
        self.sessions = sessions
        self.accounts = doors.accounts
        self.patience = patience
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send, self.patience.unread)
        if not self._welcome(socket):
            return await socket.refuse()
        await socket.accept()
        connection = Connection(self, socket)
        try:
            await socket.while_connected(connection.serve())
        finally:
            connection.leave()

    def check(self, owner: str) -> None:
        """Raises WrongKeyError or KeysUnknownError if a key that was good when its session began is no more."""
        keyring = self.accounts.keyring
        if owner or keyring.asks:
            keyring.signed_in(owner)

    def _welcome(self, socket: WebSocket) -> bool:
        """Browsers let any page connect. A key keeps them out; without keys the page must be of here."""
        page = socket.headers.get("origin")
        if page is None or self.accounts.keyring.asks or "*" in self._origins or page in self._origins:
            return True
        try:
            host = urlsplit(page)
            return host.hostname in _LOOPBACK or host.netloc == socket.headers.get("host", "")
        except ValueError:
            return False


class Connection:
    """One WebSocket, from its first frame to its end."""

    def __init__(self, endpoint: SocketEndpoint, socket: WebSocket) -> None:
        self._endpoint = endpoint
        self._tasks = endpoint.tasks
        self._socket = socket
        self._session: Session | None = None
        self._wrong_key = False
        self._until = time.monotonic() + endpoint.patience.key
        self._base = Sender.of("", socket.scope, socket.headers, {}).base

    async def serve(self) -> None:
        """Answer every frame in the order of their arrival, as far as to the point where its tasks are kept. Raises
        ClientGoneError.
        """
        self._by_header()
        while (tasks := await self._next()) is not None:
            with self._busy():
                seen: set[str] = set()
                for its_own, some in groupby(tasks, _is_its_own):
                    for task in some if its_own else ():
                        await self._its_own(task)
                    if not its_own:
                        await self._work(list(some), seen)

    def _busy(self) -> AbstractContextManager[None]:
        """What is done with a frame: it may become work."""
        return nullcontext() if self._session is None else self._session.read()

    def leave(self) -> None:
        if self._session is not None:
            self._endpoint.sessions.leave(self._session, self._socket)

    def _patience(self) -> float:
        if self._session is not None:
            return self._endpoint.patience.idle
        return max(0.0, self._until - time.monotonic())

    async def _next(self) -> list[Any] | None:
        """The tasks of the next frame, which may be large and is held no longer than it takes to read it; None, and the
        socket is closed, if there was none for too long.
        """
        while True:
            try:
                async with asyncio.timeout(self._patience()):
                    frame = await self._socket.receive()
                break
            except TimeoutError:
                if self._session is None or not self._session.tasks:
                    await self._socket.close(_DONE if self._session is None else _AWAY)
                    return None
        with self._busy():
            most = self._endpoint.doors.most_body if self._session is not None else MOST_BEFORE_KEY
            if len(frame) > most:
                await self._too_large(frame, most)
                return []
            try:
                return await read_tasks(frame)
            except UnreadableError as error:
                await self._say(failed(error, self._base))
                return []

    async def _too_large(self, frame: str | bytes, most: int) -> None:
        """Clients match errors by the UUID, so it is looked for."""
        for named in await read_names(frame) or [Named()]:
            await self._say(failed(BodyTooLargeError(most), self._base, named.task_type, named.task_uuid))

    async def _its_own(self, task: dict[str, Any]) -> None:
        if task["taskType"] == AUTHENTICATION:
            return await self._authenticate(task)
        # Also to one who has not said who it is: it may come before the answer to the key.
        return await self._say(succeeded({"taskType": PING, "pong": True}))

    async def _work(self, given: Sequence[Any], seen: set[str]) -> None:
        """Begin tasks that stand side by side, and tell what is known of them now."""
        session, started = self._session, time.perf_counter()
        try:
            if session is None:
                raise WrongKeyError(self._wrong_key)
            self._endpoint.check(session.owner)
        except (WrongKeyError, KeysUnknownError) as error:
            for task in given:
                named = task if isinstance(task, dict) else {}
                await self._say(failed(error, self._base, named.get("taskType"), named.get("taskUUID")))
            return
        sender = Sender.of(
            session.owner, self._socket.scope, self._socket.headers, self._socket.query, session.pushing
        )
        for begun in await self._tasks.begin(sender, given, seen):
            await self._begun(session, begun, started)

    async def _begun(self, session: Session, begun: tuple[Task, Begun] | Outcome, started: float) -> None:
        """What cannot be told because the client has gone is kept for its next connection."""
        if isinstance(begun, Outcome):
            self._log(begun, started)
            return await session.deliver(_written(begun))
        task, under_way = begun
        if under_way.now is not None:
            await session.deliver(_written(succeeded(under_way.now, under_way.model)))
        if under_way.later is None:
            return self._log(succeeded({}, under_way.model), started)
        return session.begin(self._finish(session, task, under_way, started))

    async def _finish(self, session: Session, task: Task, begun: Begun, started: float) -> None:
        assert begun.later is not None
        with self._tasks.captions.waited_for(int(begun.waits)):
            outcome = await finished(begun.later, self._base, task, begun.model)
        if outcome is not None:
            self._log(outcome, started)
            await session.deliver(_written(outcome))

    async def _say(self, outcome: Outcome) -> None:
        """Raises ClientGoneError."""
        await self._socket.send(_written(outcome))

    def _log(self, outcome: Outcome, started: float) -> None:
        seconds = time.perf_counter() - started
        self._endpoint.doors.watch.task_over(
            self._socket.request_id, "runware", "/v1", outcome.status, seconds, outcome.code, outcome.model
        )

    # ---- who it is --------------------------------------------------------------------------------------------------

    def _by_header(self) -> None:
        """Whoever sent a key with the handshake, or needs none, need not say it again."""
        try:
            caller = self._endpoint.accounts.caller(self._socket.scope, self._socket.headers)
            caller.check(DIALECT)
        except _REFUSED:
            return
        session = self._endpoint.sessions.open(caller.id)
        session.socket = self._socket
        self._enter(session)

    def _owner(self, key: Any) -> str:
        """Whose a key is. Raises WrongKeyError, KeysUnknownError, RateLimitError, ForbiddenError."""
        caller = self._endpoint.accounts.bearer(self._socket.scope, key if isinstance(key, str) else "")
        caller.check(DIALECT)
        return caller.id

    async def _authenticate(self, task: dict[str, Any]) -> None:
        """Answer a key: that comes before all that is said to this session. Raises ClientGoneError."""
        try:
            if not self._tasks.state.accepting:
                raise NotAcceptingError
            owner = self._owner(task.get("apiKey"))
        except (*_REFUSED, NotAcceptingError) as error:
            self._wrong_key = isinstance(error, WrongKeyError) and error.given
            self._until = time.monotonic() + self._endpoint.patience.wrong_key
            return await self._say_no(error)
        sessions, mine = self._endpoint.sessions, self._session
        found = sessions.find(owner, task.get("connectionSessionUUID"))
        session = found or (mine if mine is not None and mine.owner == owner else sessions.open(owner))
        self._enter(session)
        await self._say(succeeded({"taskType": AUTHENTICATION, "connectionSessionUUID": session.id}))
        await session.attach(self._socket)

    def _enter(self, session: Session) -> None:
        """Go on in this session, and leave the one before."""
        before, self._session = self._session, session
        if before is not None and before is not session:
            self._endpoint.sessions.leave(before, self._socket)

    async def _say_no(self, error: Exception) -> None:
        """One client reads the error by itself alone. An error about a key never has a task's UUID."""
        told = from_error(error)
        frame: Item = {
            "errors": [told.told(self._base, AUTHENTICATION)], "error": {"code": told.code, "message": told.message},
        }  # fmt: skip
        await self._socket.send(to_json(frame).decode())


def _written(outcome: Outcome) -> str:
    """One frame."""
    item, error = outcome.item, outcome.error
    return to_json({"data": [item]} if item is not None else {"errors": [error]}).decode()


def _is_its_own(given: Any) -> bool:
    return isinstance(given, dict) and given.get("taskType") in _ITS_OWN
