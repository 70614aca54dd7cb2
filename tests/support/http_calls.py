"""HTTP as it crosses: requests with nothing added, answers with nothing taken away, and streams event by event."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Reply:
    """`headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object; its form is checked."""
        assert self.headers["content-type"] == "application/json"
        [(key, error)] = self.json.items()
        assert key == "error"
        assert list(error) == ["message", "type", "param", "code"]
        assert error["message"]
        assert all(isinstance(error[name], str | None) for name in error)
        return error

    @property
    def events(self) -> list[bytes]:
        """The events of a stream, each without the blank line that ends it."""
        *events, rest = self.body.split(b"\n\n")
        assert rest == b""
        return events

    @property
    def chunks(self) -> list[Any]:
        """The events of a stream that came to its end."""
        *events, done = [event for event in self.events if not event.startswith(b":")]
        assert done == b"data: [DONE]"
        return [json.loads(event.removeprefix(b"data: ")) for event in events]


def call(url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    """One request; a body that is no bytes goes as JSON."""
    with sent(url, method, path, body, headers) as connection:
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read())


@contextmanager
def sent(
    url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> Iterator[http.client.HTTPConnection]:
    """A request that was sent and not answered yet; the connection is closed at the end."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        connection.request(method, path, data, {"content-type": "application/json", **(headers or {})})
        yield connection
    finally:
        connection.close()


def ask(
    url: str, text: Any = "a b c", model: str = "eye", headers: dict[str, str] | None = None, **fields: Any
) -> Reply:
    """A chat completion about one message of the user."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return call(url, "POST", "/v1/chat/completions", body, headers)


def raw(url: str, data: bytes) -> socket.socket:
    """A socket on which `data` was sent."""
    parts = urlsplit(url)
    peer = socket.create_connection((parts.hostname, parts.port), 20)
    peer.sendall(data)
    return peer
