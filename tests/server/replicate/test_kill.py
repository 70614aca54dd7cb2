"""The server is killed with SIGKILL at every state of a prediction: the next one brings it to its end, once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from http_calls import call
from null_server import KillableServer

WORDS = [f"w{number}" for number in range(12)]


def create(url: str) -> dict[str, Any]:
    body = {"version": "eye", "input": {"prompt": " ".join(WORDS), "max_tokens": 100}}
    reply = call(url, "POST", "/replicate/v1/predictions", body)
    assert reply.status == 201, reply.body
    return reply.json


def get(url: str, prediction: dict[str, Any]) -> dict[str, Any]:
    return call(url, "GET", f"/replicate/v1/predictions/{prediction['id']}").json


def until(url: str, prediction: dict[str, Any], true: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while not true(found := get(url, prediction)):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


STATES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "acknowledged": lambda found: True,
    "processing": lambda found: found["status"] == "processing",
    "some output": lambda found: len(found["output"] or []) >= 4,
    "ended": lambda found: found["status"] == "succeeded",
}


@pytest.mark.parametrize("state", STATES)
def test_the_server_is_killed(tmp_path: Path, state: str) -> None:
    first = KillableServer(tmp_path, delay=0.08)
    prediction = create(first.url)
    before = until(first.url, prediction, STATES[state])
    first.kill()
    second = KillableServer(tmp_path)
    try:
        found = until(second.url, prediction, STATES["ended"])
        assert "".join(found["output"]).split() == WORDS
        if state == "ended":
            assert found["completed_at"] == before["completed_at"]
        listed = call(second.url, "GET", "/replicate/v1/predictions").json["results"]
        assert [each["id"] for each in listed] == [prediction["id"]]
    finally:
        second.kill()


@pytest.mark.parametrize("state", ["processing", "some output"])
def test_the_replica_is_killed(tmp_path: Path, state: str) -> None:
    server = KillableServer(tmp_path, delay=0.08)
    try:
        prediction = create(server.url)
        until(server.url, prediction, STATES[state])
        models = call(server.url, "GET", "/triptych/v1/models").json["models"]
        [pid] = [model["pid"] for model in models if model["name"] == "eye"]
        os.kill(pid, signal.SIGKILL)
        found = until(server.url, prediction, STATES["ended"])
        assert "".join(found["output"]).split() == WORDS
    finally:
        server.kill()
