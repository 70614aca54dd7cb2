"""Runware's tasks as they cross: over HTTP, and over a WebSocket with every frame looked at."""

from __future__ import annotations

import base64
import io
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from http_calls import Reply, call
from one_object import draw
from websockets.sync.client import ClientConnection, connect


def png(color: str = "red", shape: str = "circle", side: int = 240) -> bytes:
    """A drawn picture as a file."""
    stream = io.BytesIO()
    draw(color, shape, side).save(stream, "PNG")
    return stream.getvalue()


PNG = png()
BASE64 = base64.b64encode(PNG).decode()
URI = f"data:image/png;base64,{BASE64}"


def new_uuid() -> str:
    return str(uuid.uuid4())


def caption(**fields: Any) -> dict[str, Any]:
    """A task for the null replica `eye`, which says `a b c`; fields that are None are left out."""
    task = {
        "taskType": "caption", "taskUUID": new_uuid(), "model": "eye", "inputs": {"image": URI}, "prompt": "a b c",
    } | fields  # fmt: skip
    return {name: value for name, value in task.items() if value is not None}


def post(url: str, tasks: Any, key: str | None = None, path: str = "/v1", **headers: str) -> Reply:
    """Tasks over HTTP. The form of the answer is checked."""
    given = {"authorization": f"Bearer {key}"} if key is not None else {}
    reply = call(url, "POST", path, tasks, {**given, **headers})
    assert reply.headers["content-type"] == "application/json"
    body = reply.json
    assert set(body) <= {"data", "errors", "error"}
    assert isinstance(body["data"], list)
    assert body.get("errors") != []
    if reply.status != 200:
        assert body["data"] == []
        assert body["error"] == {"code": body["errors"][0]["code"], "message": body["errors"][0]["message"]}
    for error in body.get("errors", []):
        check_error(error)
    return reply


def only_error(reply: Reply) -> dict[str, Any]:
    """The error of an answer that is nothing else."""
    assert reply.json["data"] == []
    [error] = reply.json["errors"]
    return error


def check_error(error: dict[str, Any]) -> None:
    assert isinstance(error["code"], str)
    assert isinstance(error["message"], str)
    assert error["message"]
    assert all(isinstance(error.get(name, ""), str) for name in ("parameter", "type", "documentation", "taskUUID"))


class Peer:
    """A client of a WebSocket. Every frame that comes is checked by the rules that all frames have."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def send(self, *tasks: Any) -> None:
        """All in one frame."""
        self.socket.send(json.dumps(list(tasks)))

    def frame(self, timeout: float = 10) -> dict[str, Any]:
        text = self.socket.recv(timeout)
        assert isinstance(text, str)
        assert len(text) < 1 << 20
        frame = json.loads(text)
        keys = set(frame) - ({"error"} if _is_about_a_key(frame) else set())
        assert keys in ({"data"}, {"errors"})
        assert len(frame[next(iter(keys))]) == 1
        for error in frame.get("errors", []):
            check_error(error)
        return frame

    def item(self, timeout: float = 10) -> dict[str, Any]:
        [item] = self.frame(timeout)["data"]
        return item

    def error(self, timeout: float = 10) -> dict[str, Any]:
        [error] = self.frame(timeout)["errors"]
        return error

    def ask(self, *tasks: Any) -> dict[str, Any]:
        """The frame that answers one task."""
        self.send(*tasks)
        return self.frame()

    def authenticate(self, key: str = "any", **fields: Any) -> dict[str, Any]:
        return self.ask({"apiKey": key, "taskType": "authentication", **fields})

    def silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes."""
        try:
            self.socket.recv(seconds)
        except TimeoutError:
            return True
        return False


def _is_about_a_key(frame: dict[str, Any]) -> bool:
    return [error.get("taskType") for error in frame.get("errors", [])] == ["authentication"]


@contextmanager
def connected(url: str, path: str = "/v1", **options: Any) -> Iterator[Peer]:
    """A WebSocket, with a receive limit that one of the clients has."""
    with connect(url.replace("http", "ws") + path, max_size=1 << 20, **options) as socket:
        yield Peer(socket)


# Method, path, headers and body of a request.
Got = tuple[str, str, dict[str, str], bytes]


@contextmanager
def hosting(answers: dict[str, Any]) -> Iterator[tuple[str, list[Got]]]:
    """A host on loopback: its URL, and what it was sent. `answers` by path are a status with a body, or a list of those
    that are given one after the other; what is no path of it is 404.
    """
    got: list[Got] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            got.append((self.command, self.path, headers, self.rfile.read(length)))
            found = answers.get(self.path, (404, b""))
            status, body = found.pop(0) if isinstance(found, list) else found
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", got
    server.shutdown()
    thread.join()
    server.server_close()
