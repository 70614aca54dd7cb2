"""A remote host on loopback that answers as told, properly or not. Answers are bytes as they go over the wire."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp.abc import AbstractResolver, ResolveResult

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]
Answer = bytes | Script


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """A whole answer; a header `content_type` is sent as `content-type`. The connection closes after it."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(status=status, location=location)


@dataclass
class ImageHost:
    """`answers` by path; a list gives one after the other and then its last. `requests` are (target, headers)."""

    answers: dict[str, Answer | list[Answer]]
    port: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [target for target, _ in self.requests]

    def next_answer(self, target: str) -> Answer:
        found = self.answers.get(target, answer(b"no such path", "404 Not Found"))
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self.serving[asyncio.current_task()] = writer
        try:
            request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            target = request.split(" ")[1]
            self.requests.append((target, {name.lower(): value for name, value in headers.items()}))
            reply = self.next_answer(target)
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side had enough, which is what many tests are about, or the test is over
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def image_host(
    answers: dict[str, Answer | list[Answer]] | None = None, address: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[ImageHost]:
    host = ImageHost(answers or {})
    server = await asyncio.start_server(host.serve, address, port)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        for task, writer in host.serving.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*host.serving, return_exceptions=True)
        await asyncio.sleep(0)  # in which the transports let go of their sockets


class FakeResolver(AbstractResolver):
    """Answers by name: a tuple of addresses, or a list of such answers, one per lookup. No other name exists."""

    def __init__(self, names: dict[str, tuple[str, ...] | list[tuple[str, ...]]] | None = None) -> None:
        self.names = names or {}
        self.lookups: list[str] = []
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.lookups.append(host)
        addresses = self.names.get(host.rstrip("."), ())
        if isinstance(addresses, list):
            addresses = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        if not addresses:
            raise OSError("no such name")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        self.closed = True
