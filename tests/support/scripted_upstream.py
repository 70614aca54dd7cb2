"""An OpenAI-compatible server whose every word a test chooses: real sockets, nothing between the test and the bytes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from triptych.engine.request import SamplingParams
from triptych.server.generation import ChatPrompt, Generation
from triptych.server.model_settings import Upstream
from triptych.server.upstream.connection import Times
from triptych.server.upstream.model import UpstreamModel

# As the real ones, but quick.
TIMES = Times(connect=2, silence=5, question=5, pause=0.01, longest_pause=0.3)
MODELS = {"object": "list", "data": [{"id": "there", "object": "model"}]}


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What is sent, part by part with `pause` seconds before each but the first. `hold` sends no end; `cut` breaks the
    connection off without one.
    """

    body: bytes | Sequence[bytes] = b""
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0
    hold: bool = False
    cut: bool = False


def says(value: Any, status: int = 200, **headers: str) -> Reply:
    """JSON."""
    return Reply(json.dumps(value).encode(), status, headers=headers)


def fails(status: int, message: str = "no", code: Any = None, param: Any = None, **headers: str) -> Reply:
    """OpenAI's error object."""
    return says({"error": {"message": message, "type": "x", "param": param, "code": code}}, status, **headers)


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def stream(*values: Any, done: bool = True, **more: Any) -> Reply:
    """A stream of events."""
    body = [event(value) for value in (*values, *([b"[DONE]"] if done else []))]
    return Reply(body, kind="text/event-stream; charset=utf-8", **more)


def chunk(content: str | None = None, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """A chunk of a chat with one choice."""
    return {"choices": [{"index": index, "delta": {"content": content}, "finish_reason": finish, **more}]}


def usage(prompt: int = 5, completion: int = 2, **more: Any) -> dict[str, Any]:
    """The last chunk, with the usage alone."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}
    return {"choices": [], "usage": counts}


def answer(text: str = "hello") -> Reply:
    """A good stream."""
    return stream(chunk(""), chunk(text), chunk(None, "stop"), usage())


class ScriptedUpstream:
    """`replies` are given to generations in order, the last one again and again; `at` has those of other paths. `lost`
    counts connections that the client cut before the end.
    """

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque([answer()])
        self.at: dict[str, Reply] = {"/v1/models": says(MODELS)}
        self.asked: list[Asked] = []
        self.connections = 0
        self.lost = asyncio.Event()
        self.port = 0
        self._peers: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def sent(self) -> list[Any]:
        """The bodies of the generations that were asked for."""
        return [asked.json for asked in self.asked if asked.path in ("/v1/chat/completions", "/v1/completions")]

    def script(self, *replies: Reply) -> None:
        self.replies = deque(replies)

    def _reply(self, asked: Asked) -> Reply:
        if "completions" in asked.path:
            return self.replies.popleft() if len(self.replies) > 1 else self.replies[0]
        return self.at.get(asked.path, Reply(b'{"detail": "Not Found"}', 404))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._peers.add(task)
        self.connections += 1
        try:
            while asked := await _read(reader):
                self.asked.append(asked)
                reply = self._reply(asked)
                await self._send(reply, reader, writer)
                if reply.cut:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._peers.discard(task)
            writer.close()

    async def _send(self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = {"content-type": reply.kind, "transfer-encoding": "chunked", **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} Any", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        parts = [reply.body] if isinstance(reply.body, bytes) else reply.body
        for number, part in enumerate(parts):
            if number and reply.pause:
                await asyncio.sleep(reply.pause)
            if part:
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                await writer.drain()
        if reply.hold:
            if not await reader.read(1):
                self.lost.set()
            raise ConnectionError
        if not reply.cut:
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def stop(self) -> None:
        for task in list(self._peers):
            task.cancel()
        if self._peers:
            await asyncio.wait(self._peers)


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, body)


@asynccontextmanager
async def scripted() -> AsyncIterator[ScriptedUpstream]:
    upstream = ScriptedUpstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        await upstream.stop()


@asynccontextmanager
async def upstream_model(upstream: ScriptedUpstream, times: Times = TIMES, **more: Any) -> AsyncIterator[UpstreamModel]:
    """A model `here` that is called `there` at the scripted server."""
    settings = Upstream(**{"base_url": upstream.url, "model": "there", **more})
    model = UpstreamModel("here", settings, times=times)
    try:
        yield model
    finally:
        await model.close(0)


def asked(text: str = "a b c", **params: Any) -> Generation:
    messages = [{"role": "user", "content": text}]
    return Generation("test", ChatPrompt(messages), SamplingParams(**{"max_tokens": None, **params}))


@contextmanager
def scripted_apart() -> Iterator[ScriptedUpstream]:
    """The same on a thread and event loop of its own, for tests that wait for answers themselves."""
    loop = asyncio.new_event_loop()
    ready, over = threading.Event(), asyncio.Event()
    found: list[ScriptedUpstream] = []

    async def run() -> None:
        async with scripted() as upstream:
            found.append(upstream)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        assert not thread.is_alive()
