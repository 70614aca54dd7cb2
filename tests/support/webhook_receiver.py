"""A receiver of webhooks on loopback: keeps what it was sent, and answers as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]
Answer = bytes | Script


def answer(status: str = "204 No Content", body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; a header `retry_after` is sent as `retry-after`. The connection stays open."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(frozen=True)
class Got:
    """One request; `headers` have lower-case names."""

    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"


@dataclass
class Receiver:
    """`answers` by path; a list gives one after the other and then its last. `got` is all that came, in its order."""

    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    port: int = 0
    got: list[Got] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    _serving: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self, path: str = "/") -> list[str]:
        return [each.body.decode() for each in self.got if each.path == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._one(reader, writer):
                    pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        method, path, _ = request.split(" ")
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append(Got(path, headers, body, method))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            found = self.answers.get(path, answer())
            if isinstance(found, list):
                found = found.pop(0) if len(found) > 1 else found[0]
            if isinstance(found, bytes):
                writer.write(found)
                await writer.drain()
            else:
                await found(writer)
        finally:
            self.at_once -= 1
        return not writer.is_closing()

    async def stop(self) -> None:
        for task, writer in self._serving.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)  # in which the transports let go of their sockets


@asynccontextmanager
async def receiving(answers: dict[str, Answer | list[Answer]] | None = None, port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver(answers or {})
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", port)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await receiver.stop()


async def reset(writer: asyncio.StreamWriter) -> None:
    """The connection breaks off, without an answer."""
    writer.transport.abort()


async def endless(writer: asyncio.StreamWriter) -> None:
    """A success with a body that does not end."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b"<" * 0x10000 + b"\r\n")
        await writer.drain()


def held(gate: asyncio.Event, then: bytes = answer()) -> Script:
    """Answers once `gate` is set."""

    async def script(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(then)
        await writer.drain()

    return script


async def silent(writer: asyncio.StreamWriter) -> None:
    """No answer ever comes."""
    await asyncio.Event().wait()
