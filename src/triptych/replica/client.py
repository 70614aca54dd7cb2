"""The server's end of a connection to a replica. asyncio, no torch."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ..engine.errors import TriptychError
from ..engine.request import SamplingParams, detail_of
from . import protocol
from .connection import Connection, connect

# How many pictures' digests are remembered as sent; a replica that has dropped one asks for it again.
_SENT_DIGESTS = 4096


class ReplicaLostError(TriptychError):
    """The replica's connection ended while a request was under way; `delivered` says whether any token had arrived."""

    def __init__(self, message: str, delivered: bool = False) -> None:
        super().__init__(message)
        self.delivered = delivered


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture; `digest` is blake2b of `data` in 16 bytes, as the engine's own. `detail` is the caller's word
    for how much of it is to be seen, as OpenAI has it.
    """

    digest: bytes
    data: bytes = field(repr=False)
    detail: str = "auto"


class Call:
    """A request under way. Iterate it for what each step added; afterwards `end` has the usage.

    Iteration raises the request's error, or ReplicaLostError. Leaving it early needs `abort()`.
    """

    def __init__(self, client: ReplicaClient, frame: protocol.Submit, pictures: Sequence[Picture]) -> None:
        self.id = frame.id
        self.frame = frame
        self.pictures = pictures
        self.admitted: protocol.Admitted | None = None
        self.end: protocol.End | None = None
        self._client = client
        self._delivered = False
        self._waiting: asyncio.Queue[Any] = asyncio.Queue()
        self._over: asyncio.Future[protocol.End | None] | None = None
        self._last: protocol.End | str | None = None

    def receive(self, frame: Any) -> None:
        """Called by the client: a frame of this request, or the error that ends it."""
        self._waiting.put_nowait(frame)
        if isinstance(frame, protocol.End | str):
            self._last = frame
            if self._over is not None and not self._over.done():
                self._over.set_result(frame if isinstance(frame, protocol.End) else None)

    async def over(self) -> protocol.End | None:
        """Wait for the end, whoever reads what comes before it; None if the connection was lost."""
        if self._last is not None:
            return self._last if isinstance(self._last, protocol.End) else None
        if self._over is None:
            self._over = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._over)

    async def admission(self) -> protocol.Admitted:
        """Wait until the prompt is built and the request is queued. Raises what refuses it."""
        if self.admitted is None:
            frame = await self._waiting.get()
            if not isinstance(frame, protocol.Admitted):
                self._finish(frame)
                raise AssertionError("a request ended before it was admitted, without an error")
            self.admitted = frame
        return self.admitted

    async def __aiter__(self) -> AsyncIterator[list[protocol.Piece]]:
        await self.admission()
        while self.end is None:
            frame = await self._waiting.get()
            if isinstance(frame, protocol.Tokens):
                self._delivered = True
                yield frame.pieces
            else:
                self._finish(frame)

    def _finish(self, frame: Any) -> None:
        if isinstance(frame, protocol.End):
            self.end = frame
            if frame.error is not None:
                raise protocol.error_of(frame.error)
        else:
            raise ReplicaLostError(str(frame), self._delivered)

    async def ended(self) -> protocol.End:
        """Read the rest and return the end, with its usage, whatever it was. Raises ReplicaLostError."""
        try:
            async for _ in self:
                pass
        except ReplicaLostError:
            raise
        except TriptychError:
            pass
        assert self.end is not None
        return self.end

    def abort(self) -> None:
        """Stop it; its end still arrives, with the usage so far."""
        if self.end is None:
            self._client.send(protocol.Abort(self.id))


class ReplicaClient:
    """Talks to the replica at `address`. `on_phase` is told of every phase of its start.

    Requests may be submitted as soon as it is ready; all methods belong to the event loop that connected.
    """

    def __init__(self, address: str, on_phase: Callable[[protocol.Phase], None] | None = None) -> None:
        self.address = address
        self.pid: int | None = None
        self.phases: dict[str, protocol.Phase] = {}
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._on_phase = on_phase
        self._connection: Connection | None = None
        self._ready: asyncio.Future[protocol.ModelInfo] = asyncio.get_running_loop().create_future()
        self._ids = count(1)
        self._calls: dict[str, Call] = {}
        self._asked: dict[str, tuple[protocol.Frame, Sequence[Picture], asyncio.Future[Any]]] = {}
        self._sent: OrderedDict[bytes, None] = OrderedDict()

    async def connect(self) -> None:
        """Raises OSError when nobody listens, ReplicaLostError when it speaks another version."""
        self._connection = await connect(
            self.address, lambda: Connection(protocol.FromReplica, self._receive, self._on_lost)
        )
        self.send(protocol.Hello())

    async def ready(self) -> protocol.ModelInfo:
        """Wait until the model is loaded. Raises the error that kept it from loading, or ReplicaLostError."""
        return await asyncio.shield(self._ready)

    @property
    def under_way(self) -> int:
        """Requests that have not ended."""
        return len(self._calls)

    def send(self, frame: protocol.Frame) -> None:
        if self._connection is not None:
            self._connection.send(frame)

    # ---- requests ---------------------------------------------------------------------------------------------------

    def submit(
        self,
        prompt: protocol.Prompt,
        params: SamplingParams,
        pictures: Sequence[Picture] = (),
        priority: int = 0,
    ) -> Call:
        """Begin a request. Raises ReplicaLostError when the connection is gone."""
        self._check()
        frame = protocol.Submit(str(next(self._ids)), prompt, _shown(pictures), params, priority)
        call = self._calls[frame.id] = Call(self, frame, pictures)
        self._send_with_pictures(frame, pictures)
        return call

    async def encode(self, prompt: protocol.Prompt, pictures: Sequence[Picture] = ()) -> protocol.Encoded:
        """Token ids of a prompt, pictures expanded. Raises what is wrong with it."""
        frame = protocol.Encode(str(next(self._ids)), prompt, _shown(pictures))
        return await self._ask(frame, pictures)

    async def decode(self, token_ids: list[int]) -> str:
        """The text of token ids, special tokens spelled out."""
        decoded = await self._ask(protocol.Decode(str(next(self._ids)), token_ids))
        assert isinstance(decoded, protocol.Decoded)
        return decoded.text

    async def report(self, timeout: float) -> protocol.Report:
        """Gauges and totals. Raises TimeoutError when the replica does not answer in `timeout` seconds: it hangs."""
        async with asyncio.timeout(timeout):
            return await self._ask(protocol.Ask(str(next(self._ids))))

    async def _ask(self, frame: Any, pictures: Sequence[Picture] = ()) -> Any:
        self._check()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[frame.id] = (frame, pictures, future)
        try:
            self._send_with_pictures(frame, pictures)
            answer = await future
        finally:
            self._asked.pop(frame.id, None)
        if getattr(answer, "error", None) is not None:
            raise protocol.error_of(answer.error)
        return answer

    def _send_with_pictures(self, frame: protocol.Frame, pictures: Sequence[Picture]) -> None:
        for picture in pictures:
            if picture.digest not in self._sent:
                self.send(protocol.Image(picture.digest, picture.data))
                if len(self._sent) >= _SENT_DIGESTS:
                    self._sent.popitem(last=False)
            self._sent[picture.digest] = None
            self._sent.move_to_end(picture.digest)
        self.send(frame)

    def _check(self) -> None:
        if self._connection is None or not self._connection.open:
            raise ReplicaLostError("the replica is not connected")

    # ---- what arrives -----------------------------------------------------------------------------------------------

    def _receive(self, frame: Any) -> None:
        match frame:
            case protocol.Tokens() | protocol.Admitted():
                if call := self._calls.get(frame.id):
                    call.receive(frame)
            case protocol.End():
                if call := self._calls.pop(frame.id, None):
                    call.receive(frame)
            case protocol.Missing():
                self._send_again(frame)
            case protocol.Encoded() | protocol.Decoded() | protocol.Report():
                if (asked := self._asked.get(frame.id)) and not asked[2].done():
                    asked[2].set_result(frame)
            case protocol.Phase():
                self.phases[frame.name] = frame
                if self._on_phase is not None:
                    self._on_phase(frame)
            case _:
                self._greeted(frame)

    def _greeted(self, frame: Any) -> None:
        if isinstance(frame, protocol.Welcome):
            self.pid = frame.pid
            if frame.version != protocol.VERSION and self._connection is not None:
                versions = f"it speaks version {frame.version} of the protocol, this server {protocol.VERSION}"
                self._connection.cut(f"{versions}; install the same version of triptych on both sides")
        elif isinstance(frame, protocol.Ready) and not self._ready.done():
            self._ready.set_result(frame.info)
        elif isinstance(frame, protocol.LoadFailed) and not self._ready.done():
            self._fail_ready(protocol.error_of(frame.error))

    def _send_again(self, frame: protocol.Missing) -> None:
        call, asked = self._calls.get(frame.id), self._asked.get(frame.id)
        again, pictures = (call.frame, call.pictures) if call else asked[:2] if asked else (None, ())
        for digest in frame.digests:
            self._sent.pop(digest, None)
        if again is not None:
            self._send_with_pictures(again, pictures)

    def _on_lost(self, reason: str) -> None:
        message = f"the replica is gone: {reason}"
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.receive(message)
        for _, _, future in self._asked.values():
            if not future.done():
                future.set_exception(ReplicaLostError(message))
        self._fail_ready(ReplicaLostError(message))
        if not self.lost.done():
            self.lost.set_result(reason)

    def _fail_ready(self, error: Exception) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # it is no bug if nobody waits for it

    def close(self) -> None:
        """Send what is left and close; the replica aborts what is under way."""
        if self._connection is not None:
            self._connection.close()


def _shown(pictures: Sequence[Picture]) -> list[protocol.Shown]:
    return [protocol.Shown(picture.digest, detail_of(picture.detail)) for picture in pictures]
