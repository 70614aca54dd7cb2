"""Keys of a running server over HTTP, and one question in each API, with what came of it in one form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from http_calls import Reply, ask, call
from predicting import problem
from runware_calls import caption, connected, only_error, post
from servers import Running

PREFIX = "/triptych/v1"


def order(server: Running, method: str, path: str, body: Any = None, key: str = "") -> Reply:
    """A request to the server's own API."""
    return call(server.url, method, PREFIX + path, body, bearer(key))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def new_key(server: Running, name: str, by: str = "", **wish: Any) -> dict[str, Any]:
    """A key that the one `by` makes; its secret is in `key`."""
    reply = order(server, "POST", "/keys", {"name": name, **wish}, by)
    assert reply.status == 201, reply.body
    return dict(reply.json)


@dataclass
class Outcome:
    """`code` and `message` are those of the error, "" without one; `status` is 0 on a WebSocket."""

    status: int
    code: str = ""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def by_openai(server: Running, key: str) -> Outcome:
    reply = ask(server.url, headers=bearer(key))
    if reply.status == 200:
        return Outcome(200, headers=reply.headers)
    return Outcome(reply.status, str(reply.error["code"]), reply.error["message"], reply.headers)


def by_replicate(server: Running, key: str) -> Outcome:
    body = {"version": "org/eye", "input": {"prompt": "a b c"}}
    reply = call(server.url, "POST", "/v1/predictions", body, {**bearer(key), "prefer": "wait"})
    if reply.status == 201:
        return Outcome(201, headers=reply.headers)
    told = problem(reply)
    return Outcome(reply.status, told["title"], told["detail"], reply.headers)


def by_runware(server: Running, key: str) -> Outcome:
    reply = post(server.url, [caption()], key or None)
    if reply.status == 200:
        return Outcome(200, headers=reply.headers)
    error = only_error(reply)
    return Outcome(reply.status, error["code"], error["message"], reply.headers)


def by_socket(server: Running, key: str) -> Outcome:
    with connected(server.url) as peer:
        frame = peer.authenticate(key)
        if "errors" not in frame:
            frame = peer.ask(caption())
    error = frame["errors"][0] if "errors" in frame else {"code": "", "message": ""}
    return Outcome(0, error["code"], error["message"])


WAYS: dict[str, Callable[[Running, str], Outcome]] = {
    "openai": by_openai, "replicate": by_replicate, "runware": by_runware, "socket": by_socket,
}  # fmt: skip
