"""The page about what runs: states, memory, phases, and its buttons."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from http_calls import ask, call
from page_calls import assert_nothing_runs, page, polled, send_form, text_of
from servers import Running, null_models, serving

PATH = "/app/running"


@pytest.fixture
def server() -> Iterator[Running]:
    with serving(null_models()) as running:
        yield running


def until(server: Running, name: str, state: str) -> dict[str, object]:
    deadline = time.monotonic() + 20
    while True:
        models = call(server.url, "GET", "/triptych/v1/models").json["models"]
        found = next(model for model in models if model["name"] == name)
        if found["state"] == state:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_it_shows_what_ps_does(server: Running) -> None:
    text = text_of(page(server.url, PATH))
    assert "eye stopped" in text
    assert "text stopped" in text
    ask(server.url)
    found = until(server, "eye", "ready")
    html = page(server.url, PATH)
    assert_nothing_runs(html)
    text = text_of(html)
    assert "eye ready" in text
    assert f"process {found['pid']}" in text
    assert f"{found['precision']} on {found['device']}" in text
    assert "The last start" in text
    assert polled(html) is not None


def test_start_and_stop(server: Running) -> None:
    reply = send_form(server.url, f"{PATH}/org/eye/start")  # an alias with a slash
    assert (reply.status, reply.headers["location"]) == (303, PATH)
    until(server, "eye", "ready")
    told = polled(page(server.url, PATH))
    assert told is not None
    assert send_form(server.url, f"{PATH}/eye/stop").status == 303
    assert until(server, "eye", "stopped")["pid"] is None
    changed = call(server.url, "GET", told)
    assert changed.status == 200
    assert 'id="m-1" hx-swap-oob="true"' in changed.body.decode()
    assert 'id="m-2"' not in changed.body.decode()
    for order in ("start", "stop"):
        assert send_form(server.url, f"{PATH}/nobody/{order}").status == 404


def test_a_start_that_fails_says_why() -> None:
    with serving(null_models(fail="no weights here")) as server:
        assert send_form(server.url, f"{PATH}/eye/start").status == 303
        until(server, "eye", "failed")
        text = text_of(page(server.url, PATH))
        assert "eye failed" in text
        found = call(server.url, "GET", "/triptych/v1/models").json["models"][0]
        assert found["failure"] in text
