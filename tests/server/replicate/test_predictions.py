"""Predictions that are there: whose they are, pages of them, their end, and what is removed of them in time."""

from __future__ import annotations

import asyncio
import re
import time
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from http_calls import call
from msgspec.structs import replace
from predicting import STATUSES, Client, problem
from servers import Running, null_models, serving
from uploads import KEYS

from triptych.server.app import Options
from triptych.server.dialects.replicate import predictions as routes
from triptych.server.dialects.replicate.errors import from_error
from triptych.server.dialects.replicate.paging import Cursor
from triptych.server.dialects.replicate.shown import render
from triptych.server.records import open_records
from triptych.server.store import forgetting
from triptych.server.store.ids import now_us
from triptych.server.store.predictions import PredictionRecord
from triptych.server.store.store import StoreError


def test_others_do_not_see_it(one: Client, two: Client) -> None:
    told = one.run("mine alone")
    for method, path in (("GET", ""), ("POST", "/cancel")):
        assert problem(two.ask(method, f"/predictions/{told['id']}{path}"))["status"] == 404
    assert told["id"] not in str(two.ask("GET", "/predictions").json)
    assert told["id"] in str(one.ask("GET", "/predictions").json)


def test_one_that_is_not_there(one: Client) -> None:
    for path in ("/predictions/nothing", "/predictions/" + "0" * 26, "/predictions/%00"):
        assert problem(one.ask("GET", path))["status"] == 404


def test_cancel_while_it_runs_while_it_waits_and_when_it_is_over(slow: Client) -> None:
    words = " ".join("word" for _ in range(40))
    running = slow.create(words).json
    slow.until(running, "processing")
    time.sleep(0.5)
    for path in (f"/predictions/{running['id']}/cancel", running["urls"]["cancel"]):
        told = slow.ask("POST", path, b"").json  # a body that is empty, under the type of JSON
        assert told["status"] == "canceled"
        assert told["completed_at"]
        assert told["metrics"]["predict_time"] > 0
        assert 0 < len(told["output"]) < 40
        assert told["error"] is None
    done = slow.run("a")
    assert slow.ask("POST", f"/predictions/{done['id']}/cancel").json == done


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", ""])
def test_a_cancel_without_a_body_may_call_it_anything(one: Client, kind: str) -> None:
    done = one.run("a")
    reply = one.ask("POST", f"/predictions/{done['id']}/cancel", b"", content_type=kind)
    assert (reply.status, reply.json) == (200, done)


def test_a_cold_start_is_told_beside_the_other_times() -> None:
    times = {"created_us": 1_000_000, "started_us": 4_000_000, "first_token_us": 4_500_000, "completed_us": 5_000_000}
    record = PredictionRecord(
        id="a", owner="", dialect="replicate", model="m", generation="", stream_token="t", status="succeeded",
        shown={"model": "o/m", "version": "0" * 64, "base": ""}, **times,
    )  # fmt: skip
    assert "cold_start_time" not in render(record, "http://h/v1")["metrics"]
    told = render(replace(record, cold_us=2_250_000), "http://h/v1")["metrics"]
    assert (told["queue_time"], told["cold_start_time"], told["predict_time"]) == (3.0, 2.25, 1.0)


def test_a_failure_is_no_http_error_and_has_a_reason(one: Client) -> None:
    told = one.create("x " * 5000, wait=20)
    assert (told.status, told.json["status"]) == (201, "failed")
    assert "the context is 4096 tokens" in told.json["error"]
    broken = one.run("broken", image="http://images.example/x.png")
    assert (broken["status"], broken["error"][:31]) == ("failed", "image 1: the image is truncated")
    assert f"failed: {broken['error']}" in broken["logs"]


# ---- pages ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_PAGE", 2)


def test_pages_lead_through_all_of_them_and_back(two: Client, small_pages: None) -> None:
    ids = [two.run(f"number {number}")["id"] for number in range(5)][::-1]
    pages: list[dict[str, Any]] = [two.ask("GET", "/predictions").json]
    while pages[-1]["next"]:
        assert pages[-1]["next"].startswith(f"{two.server.url}/v1/predictions?cursor=")
        pages.append(two.ask("GET", pages[-1]["next"]).json)
    seen = [record["id"] for page in pages for record in page["results"]]
    assert seen[:5] == ids
    assert pages[0]["previous"] is None
    assert all(set(page) == {"next", "previous", "results"} for page in pages)
    back = two.ask("GET", pages[2]["previous"]).json
    assert [record["id"] for record in back["results"]] == ids[2:4]
    first = two.ask("GET", back["previous"]).json
    assert [record["id"] for record in first["results"]] == ids[:2]
    assert first["previous"] is None
    assert two.ask("GET", first["next"]).json["results"] == back["results"]


def test_filters_stay_with_the_cursor(one: Client, small_pages: None) -> None:
    old = one.run("old")
    time.sleep(0.01)
    kept = [one.run(f"kept {number}") for number in range(3)]
    time.sleep(0.01)
    late = one.run("late")
    query = f"created_after={kept[0]['created_at']}&created_before={late['created_at']}"
    page = one.ask("GET", f"/predictions?{query}").json
    rest = one.ask("GET", page["next"]).json
    found = [record["id"] for record in (*page["results"], *rest["results"])]
    assert found == [record["id"] for record in kept[::-1]]
    assert rest["next"] is None
    assert old["id"] not in found
    assert dict(parse_qsl(urlsplit(page["next"]).query))["created_before"] == late["created_at"]
    plus = kept[0]["created_at"].replace("Z", "+00:00")  # not encoded, as people write it
    assert len(one.ask("GET", f"/predictions?created_after={plus}").json["results"]) == 2
    assert one.ask("GET", "/predictions?source=web").json["results"] == []


@pytest.mark.parametrize(("query", "status"), [
    ("cursor=x", 400), ("cursor=YQ==", 400), ("cursor=%C3%A9", 400), ("created_after=soon", 422),
    ("created_before=2026-99-01", 422), ("source=tape", 422),
])  # fmt: skip
def test_a_bad_query_says_what_is_wrong(one: Client, query: str, status: int) -> None:
    assert problem(one.ask("GET", f"/predictions?{query}"))["status"] == status


def test_a_cursor_is_read_as_it_was_written() -> None:
    for cursor in (Cursor(below="0a"), Cursor(above="zz")):
        assert Cursor.read(cursor.written()) == cursor
    assert Cursor.read(None) == Cursor.read("") == Cursor()


# ---- what time does -------------------------------------------------------------------------------------------------


def test_what_was_removed_is_told_as_clients_can_read_it(tmp_path: Path) -> None:
    with serving(null_models(), data=tmp_path) as running:
        client = Client(running, {})
        told = client.run("a secret")
    async def forget() -> None:
        records = await open_records(tmp_path)
        await records.store.write(partial(forgetting.remove_data, before_us=now_us(), now_us=now_us(), limit=10))
        await records.close()

    asyncio.run(forget())
    with serving(null_models(), data=tmp_path) as running:
        client = Client(running, {})
        found = client.get(told)
        assert found["data_removed"] is True
        assert (found["input"], found["output"], found["logs"]) == ({}, None, None)
        assert (found["status"], found["id"], found["model"]) == ("succeeded", told["id"], "org/eye")
        assert set(found["urls"]) == {"get", "cancel", "web"}
        stream = urlsplit(told["urls"]["stream"]).path
        assert problem(call(running.url, "GET", stream))["status"] == 404


def test_every_state_is_one_that_all_clients_know() -> None:
    for status in STATUSES:
        ended = status in STATUSES[2:]
        record = PredictionRecord(
            id="p", owner="", dialect="replicate", model="m", generation="", created_us=1_000_000, stream_token="t",
            shown={"model": "a/b", "version": "v", "base": "http://x/v1"}, status=status,
            started_us=2_000_000 if ended else None, completed_us=5_500_000 if ended else None,
            deadline_us=9_000_000, webhook="https://h/", webhook_events=("start",), completion_tokens=0,
        )  # fmt: skip
        told = render(record, "http://x/v1")
        assert told["output"] == ([] if status == "succeeded" else None)
        assert ("metrics" in told) is ended
        assert told["created_at"] == "1970-01-01T00:00:01.000000Z"
        assert told["deadline"] == "1970-01-01T00:00:09.000000Z"
        assert (told["webhook"], told["webhook_events_filter"]) == ("https://h/", ["start"])
        assert all(isinstance(url, str) for url in told["urls"].values())
        if ended:
            assert told["metrics"] == {
                "predict_time": 3.5, "total_time": 4.5, "queue_time": 1.0, "input_token_count": 0,
                "output_token_count": 0, "image_token_count": 0,
            }  # fmt: skip


# ---- keys and errors ------------------------------------------------------------------------------------------------


def test_a_key_is_needed_in_either_form(server: Running) -> None:
    for scheme in ("Bearer", "bearer", "Token", "TOKEN"):
        reply = call(server.url, "GET", "/v1/account", headers={"authorization": f"{scheme} {KEYS[0]}"})
        assert (reply.status, reply.json["username"]) == (200, "local")
    none = problem(call(server.url, "GET", "/v1/predictions"))
    wrong = problem(call(server.url, "GET", "/v1/predictions", headers={"authorization": "Token r8_wrong"}))
    assert (none["status"], none["title"]) == (wrong["status"], wrong["title"]) == (401, "Unauthenticated")
    assert none["detail"] != wrong["detail"]
    assert "valid" in wrong["detail"]


@pytest.mark.parametrize(("method", "path", "allow"), [
    ("PUT", "/v1/predictions", "GET, HEAD, OPTIONS, POST"),
    ("DELETE", "/predictions/x", "GET, HEAD, OPTIONS"),
    ("GET", "/replicate/v1/models/org/eye/predictions", "OPTIONS, POST"),
    ("PATCH", "/v1/models/org/eye/versions", "GET, HEAD, OPTIONS"),
])  # fmt: skip
def test_a_wrong_method_is_a_problem_with_allow(one: Client, method: str, path: str, allow: str) -> None:
    reply = call(one.server.url, method, path, None, {**one.key, "user-agent": "replicate-python/1.0.7"})
    assert problem(reply)["status"] == 405
    assert reply.headers["allow"] == allow


@pytest.mark.parametrize("path", ["/replicate/v1/nothing", "/replicate/predictions/a/b", "/v1/predictions/a/b/c"])
def test_a_path_that_is_not_there_is_a_problem(one: Client, path: str) -> None:
    assert problem(call(one.server.url, "GET", path, None, one.key))["status"] == 404


def test_a_client_that_takes_words_for_addresses_is_told_what_to_use(one: Client) -> None:
    agent = "ai/6.0.1 ai-sdk/provider-utils/4.0.1 runtime/node.js/22 ai-sdk/replicate/2.0.57"
    reply = one.create("a", headers={"user-agent": agent, "prefer": "wait"})
    assert reply.status == 422
    assert "@ai-sdk/openai-compatible" in problem(reply)["detail"]


def test_what_went_wrong_here_is_not_to_be_sent_again_by_itself() -> None:
    told = from_error(RuntimeError("/secret/path"))
    assert (told.status, told.headers["x-should-retry"]) == (500, "false")
    assert "secret" not in told.detail
    assert "x-should-retry" not in from_error(StoreError("away")).headers  # nothing was begun


def test_other_content_types_are_refused(one: Client) -> None:
    reply = one.ask("POST", "/predictions", b"version=x", content_type="text/plain")
    assert problem(reply)["status"] == 415


def test_it_is_not_there_while_the_server_stops(tmp_path: Path) -> None:
    with serving(null_models(), options=Options(drain=1), data=tmp_path) as running:
        doors = next(route.endpoint for route in running.app._starlette.routes if route.path == "/v1/predictions")
        doors._doors.watch.state.accepting = False
        reply = call(running.url, "GET", "/v1/predictions")
        assert problem(reply)["status"] == 503
        assert reply.headers["retry-after"]
        assert re.match("The server is about to stop", reply.json["detail"])
