"""One connected server, as the replica sees it, and the requests it has under way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import protocol
from .connection import Connection

if TYPE_CHECKING:
    from .host import Host


class Conversation:
    """One request of one server: the id that the server chose and the one that the engine knows."""

    __slots__ = ("aborted", "admission", "engine_id", "id", "session", "submitted")

    def __init__(self, session: Session, id: str) -> None:
        self.session = session
        self.id = id
        self.engine_id = f"{session.number}:{id}"
        self.submitted = False
        self.aborted = False
        # What to say when the engine has taken it; None once it is said.
        self.admission: protocol.Admitted | None = None

    def admit(self) -> None:
        """Say that the engine has taken it, once: before its first tokens, which may be faster than we are."""
        if self.admission is not None:
            self.session.connection.send(self.admission)
            self.admission = None


class Session:
    """One connected server and its requests."""

    def __init__(self, host: Host, number: int) -> None:
        self.host = host
        self.number = number
        self.conversations: dict[str, Conversation] = {}
        self.connection = Connection(protocol.FromServer, self._receive, self._lost)

    def _receive(self, frame: Any) -> None:
        match frame:
            case protocol.Image():
                self.host.pictures.put(frame.digest, frame.data)
            case protocol.Submit():
                self._submit(frame)
            case protocol.Abort():
                self._abort(frame.id)
            case protocol.Encode() | protocol.Decode():
                self.host.background(self._translate(frame))
            case protocol.Ask():
                self.connection.send(self.host.report(frame.id))
            case protocol.Hello():
                self._greet(frame)

    def _greet(self, hello: protocol.Hello) -> None:
        self.connection.send(protocol.Welcome(protocol.VERSION, os.getpid()))
        if hello.version != protocol.VERSION:
            self.connection.close()
            return
        for frame in self.host.told.values():
            self.connection.send(frame)

    def _submit(self, frame: protocol.Submit) -> None:
        if frame.id in self.conversations:
            self.connection.cut(f"the request id {frame.id} is in use")
            return
        conversation = self.conversations[frame.id] = Conversation(self, frame.id)
        self.host.background(self.host.begin(conversation, frame))

    def _abort(self, id: str) -> None:
        conversation = self.conversations.get(id)
        if conversation is not None:
            conversation.aborted = True
            if conversation.submitted:
                self.host.ready_engine().abort(conversation.engine_id)

    async def _translate(self, frame: protocol.Encode | protocol.Decode) -> None:
        self.connection.send(await self.host.translate(frame))

    def _lost(self, reason: str) -> None:
        for id in list(self.conversations):
            self._abort(id)
        self.host.sessions.discard(self)
