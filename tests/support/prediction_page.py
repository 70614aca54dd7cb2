"""Predictions as the tests of their pages ask for them, and what is stored of them."""

from __future__ import annotations

import time
from typing import Any

from http_calls import call
from page_calls import page, polled
from runware_calls import PNG, URI, new_uuid
from servers import Running

LIST = "/app/predictions"


async def any_picture(url: str) -> bytes:
    return PNG


def asked(server: Running, prompt: str = "one two three", wait: bool = True, **more: Any) -> dict[str, Any]:
    """A prediction in Replicate's way."""
    fields = more.pop("fields", {})
    body = {"version": "org/eye", "input": {"prompt": prompt, **more}, **fields}
    reply = call(server.url, "POST", "/v1/predictions", body, {"prefer": "wait=20"} if wait else {})
    assert reply.status in (201, 202), reply.body
    return reply.json


def captioned(server: Running) -> str:
    """A prediction in Runware's way; its id."""
    task = {"taskType": "caption", "taskUUID": new_uuid(), "model": "eye", "inputs": {"image": URI}}
    assert call(server.url, "POST", "/runware/v1", [task]).status == 200
    return call(server.url, "GET", "/triptych/v1/predictions?limit=1").json["predictions"][0]["id"]


def stored(server: Running, prediction_id: str) -> dict[str, Any]:
    return call(server.url, "GET", f"/triptych/v1/predictions/{prediction_id}").json


def until(server: Running, prediction_id: str, *statuses: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while (found := stored(server, prediction_id))["status"] not in statuses:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def settled(server: Running, prediction_id: str) -> str:
    """The page of a prediction that has ended, once it is in the books and nothing can change any more."""
    deadline = time.monotonic() + 10
    while polled(html := page(server.url, f"{LIST}/{prediction_id}")) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return html
