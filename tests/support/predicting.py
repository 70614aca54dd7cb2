"""Predictions over HTTP as Replicate's clients ask for them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from http_calls import Reply, call
from servers import Running

STATUSES = ("starting", "processing", "succeeded", "failed", "canceled")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def problem(reply: Reply) -> dict[str, Any]:
    """The problem of an answer; its form is checked."""
    assert reply.headers["content-type"] == "application/problem+json"
    told = reply.json
    assert told["status"] == reply.status
    assert isinstance(told["detail"], str)
    assert told["detail"]
    assert set(told) <= {"title", "detail", "status", "invalid_fields", "retry_after"}
    assert told.get("retry_after") == (int(reply.headers["retry-after"]) if "retry-after" in reply.headers else None)
    return told


@dataclass
class Client:
    """Sends everything with `key` to paths below `mount`."""

    server: Running
    key: dict[str, str]
    mount: str = "/v1"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        path = path.removeprefix(self.server.url) if path.startswith("http") else self.mount + path
        return call(self.server.url, method, path, body, self.key | sent)

    def create(self, prompt: str = "one two three", version: str = "org/eye", **more: Any) -> Reply:
        """A new prediction; `wait` is put into Prefer, `headers` go with it, and the rest is input."""
        headers = dict(more.pop("headers", {}))
        fields = more.pop("fields", {})
        if (wait := more.pop("wait", None)) is not None:
            headers["prefer"] = "wait" if wait is True else f"wait={wait}"
        body = {"version": version, "input": {"prompt": prompt, **more}, **fields}
        return self.ask("POST", "/predictions", body, **headers)

    def run(self, prompt: str = "one two three", **more: Any) -> dict[str, Any]:
        """A prediction to its end."""
        reply = self.create(prompt, wait=20, **more)
        assert reply.status == 201, reply.body
        return reply.json

    def get(self, prediction: dict[str, Any]) -> dict[str, Any]:
        return self.ask("GET", f"/predictions/{prediction['id']}").json

    def until(self, prediction: dict[str, Any], *statuses: str) -> dict[str, Any]:
        """The prediction once it has one of the statuses."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = self.get(prediction)
            if found["status"] in statuses:
                return found
            time.sleep(0.02)
        raise AssertionError(f"it is {found['status']} still: {found}")


@dataclass
class Event:
    name: str
    id: str
    data: str


def events(reply: Reply) -> list[Event]:
    """The events of a stream, read as the specification says: by line feeds, one space behind a colon taken off."""
    found = []
    for block in reply.body.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        fields = [line.partition(":")[::2] for line in lines]
        values = [(name, value.removeprefix(" ")) for name, value in fields]
        [event], [event_id] = ([value for name, value in values if name == wanted] for wanted in ("event", "id"))
        data = [value for name, value in values if name == "data"]
        assert data
        assert {name for name, _ in values} == {"event", "id", "data"}
        found.append(Event(event, event_id, "\n".join(data)))
    return found
