"""The pages about webhooks: every message with its tries, and the button that sends it again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from http_calls import call
from page_calls import assert_nothing_runs, links, page, polled, send_form, text_of
from servers import NOWHERE, Running, null_models, serving

LIST = "/app/webhooks"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database: str | None) -> Iterator[Running]:
    with serving(null_models(), data=tmp_path_factory.mktemp("data"), database=database) as running:
        yield running


def told_of(server: Running) -> dict[str, Any]:
    """A message about a new prediction, given up."""
    body = {
        "version": "eye", "input": {"prompt": "one two"}, "webhook": NOWHERE, "webhook_events_filter": ["completed"],
    }  # fmt: skip
    made = call(server.url, "POST", "/v1/predictions", body, {"prefer": "wait"}).json["id"]
    return until(server, made, 1)


def until(server: Running, prediction: str, tries: int) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while True:
        found = call(server.url, "GET", f"/triptych/v1/webhooks?prediction={prediction}").json["webhooks"]
        if found and found[0]["state"] == "given_up" and found[0]["tries"] >= tries:
            return found[0]
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_a_message_is_told_with_its_body_and_tries(server: Running) -> None:
    hook = told_of(server)
    html = page(server.url, f"{LIST}/{hook['id']}")
    assert_nothing_runs(html)
    text = text_of(html)
    whole = call(server.url, "GET", f"/triptych/v1/webhooks/{hook['id']}").json
    assert whole["attempts"][0]["error"] in text
    assert json.loads(whole["body"])["id"] in text
    assert '"status": "succeeded"' in text
    assert NOWHERE in text
    assert "given up" in text
    assert f"/app/predictions/{hook['prediction']}" in links(html)
    assert polled(html) is None
    # The page of its prediction has it too.
    assert f"{LIST}/{hook['id']}" in links(page(server.url, f"/app/predictions/{hook['prediction']}"))


def test_it_is_sent_again(server: Running) -> None:
    hook = told_of(server)
    reply = send_form(server.url, f"{LIST}/{hook['id']}/replay")
    assert (reply.status, reply.headers["location"]) == (303, f"{LIST}/{hook['id']}")
    until(server, hook["prediction"], 2)
    tries = text_of(page(server.url, f"{LIST}/{hook['id']}")).partition("Tries")[2]
    assert tries.count("its address is not public") == 2


def test_the_list_and_its_filters(server: Running) -> None:
    first, second = told_of(server), told_of(server)
    there = links(page(server.url, LIST))
    assert {f"{LIST}/{first['id']}", f"{LIST}/{second['id']}"} <= set(there)
    one = links(page(server.url, f"{LIST}?prediction={first['prediction']}"))
    assert f"{LIST}/{first['id']}" in one
    assert f"{LIST}/{second['id']}" not in one
    assert f"{LIST}/{first['id']}" in links(page(server.url, f"{LIST}?state=given_up"))
    assert "None of them" in text_of(page(server.url, f"{LIST}?state=delivered"))
    page(server.url, f"{LIST}?state=nonsense", 400)
    page(server.url, f"{LIST}?prediction=%3Cb%3E", 400)


@pytest.mark.parametrize("webhook_id", ["0" * 26, "nobody", "a-b", "x" * 300, "%00"])
def test_one_that_is_not_there(server: Running, webhook_id: str) -> None:
    assert "No such webhook" in text_of(page(server.url, f"{LIST}/{webhook_id}", 404))
    assert send_form(server.url, f"{LIST}/{webhook_id}/replay").status == 404
