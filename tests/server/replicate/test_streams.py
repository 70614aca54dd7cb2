"""Streams: every event with an id and data, whatever is in the text; from the beginning or the middle, to the end."""

from __future__ import annotations

import time
from typing import Any

import pytest
from http_calls import Reply, call, sent
from predicting import Client, events, problem

from triptych.server.dialects.replicate.shown import Shown
from triptych.server.dialects.replicate.streams import Stream, on_the_wire
from triptych.server.exchange import Exchange
from triptych.server.store.predictions import PredictionRecord

SECOND = 1_772_442_900


def record(*output: str, status: str = "succeeded", error: str | None = None) -> PredictionRecord:
    return PredictionRecord(
        id="p", owner="", dialect="replicate", model="m", generation="", created_us=SECOND * 1_000_000 + 5,
        stream_token="t", shown={"model": "a/b", "version": "v", "base": "http://x/v1"}, output=output, status=status,
        error=error,
    )  # fmt: skip


async def written(*records: PredictionRecord, last: str = "") -> str:
    async def changes():
        for each in records[1:]:
            yield each

    assert Shown.of(records[0]).model == "a/b"
    return b"".join([event async for event in Stream(records[0], last).events(changes())]).decode()


async def test_the_wire() -> None:
    told = await written(record("Hi", "\n\n", " there"))
    assert told == (
        ": connected\n\n"
        f"event: output\nid: {SECOND}:0\ndata: Hi\n\n"
        f"event: output\nid: {SECOND}:1\ndata: \ndata: \ndata: \n\n"
        f"event: output\nid: {SECOND}:2\ndata:  there\n\n"
        f"event: done\nid: {SECOND}:3\ndata: {{}}\n\n"
    )


@pytest.mark.parametrize(
    ("before", "text", "wire"),
    [
        ("", "a\r\nb", "a\nb"), ("", "a\rb", "a\nb"), ("", "a\n\rb", "a\n\nb"), ("", "\r\r\n", "\n\n"),
        *(("", f"a{mark}b", "a\nb") for mark in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"),
        ("a\r", "\nb", "b"), ("a", "\nb", "\nb"), ("", " é😀 ", " é😀 "), ("", "a\x00\tb", "a\x00\tb"),
    ],
)
def test_line_ends_that_readers_would_lose_text_at(before: str, text: str, wire: str) -> None:
    assert on_the_wire(before, text) == wire
    assert len(wire.splitlines()) == len(wire.split("\n")) - wire.endswith("\n")


async def test_it_follows_what_grows() -> None:
    told = await written(
        record(status="starting"), record("a", status="processing"), record("a", status="processing"),
        record("a", "b", "c", status="processing"), record("a", "b", "c"),
    )  # fmt: skip
    found = events(Reply(200, {}, told.encode()))
    assert [event.data for event in found] == ["a", "b", "c", "{}"]


@pytest.mark.parametrize(
    ("status", "names", "data"),
    [
        ("succeeded", ["output", "done"], ["a", "{}"]),
        ("canceled", ["output", "done"], ["a", '{"reason":"canceled"}']),
        ("failed", ["output", "error", "done"], ["a", '{"detail":"no\\nluck"}', '{"reason":"error"}']),
    ],
)
async def test_the_end_says_how_it_ended(status: str, names: list[str], data: list[str]) -> None:
    told = await written(record("a", status=status, error="no\nluck" if status == "failed" else None))
    found = events(Reply(200, {}, told.encode()))
    assert [event.name for event in found] == names
    assert [event.data for event in found] == data
    assert [event.id for event in found] == [f"{SECOND}:{number}" for number in range(len(names))]


@pytest.mark.parametrize(
    ("last", "first"),
    [
        ("", 0), (f"{SECOND}:0", 1), (f"{SECOND}:1", 2), (f"{SECOND}:2", 2), (f"{SECOND}:9", 2), ("1:1", 0), ("x", 0),
        ("0:0", 0),
    ],
)
async def test_it_goes_on_behind_the_last_event(last: str, first: int) -> None:
    told = await written(record("a", "b"), last=last)
    assert [line for line in told.splitlines() if line.startswith("id")] == [
        f"id: {SECOND}:{number}" for number in range(first, 3)
    ]


async def test_a_failure_that_was_seen_is_not_told_again() -> None:
    failed = record("a", status="failed", error="no")
    assert "event: error" in await written(failed, last=f"{SECOND}:0")
    assert "event: error" not in await written(failed, last=f"{SECOND}:1")
    assert "event: done" in await written(failed, last=f"{SECOND}:2")


async def test_a_stream_that_breaks_off_ends_with_done_and_can_be_gone_on_with() -> None:
    told = await written(record("a", status="processing"))
    assert "event: error" in told
    assert told.endswith(f'event: done\nid: {SECOND}:0\ndata: {{"reason":"error"}}\n\n')
    assert (await written(record("a", "b"), last=f"{SECOND}:0")).count("event: output") == 1
    told = await written(record(status="processing"))
    assert told.endswith('event: done\nid: 0:0\ndata: {"reason":"error"}\n\n')


# ---- over HTTP ------------------------------------------------------------------------------------------------------


def follow(client: Client, prediction: dict[str, Any], **headers: str) -> Any:
    """As clients do: without a key."""
    path = prediction["urls"]["stream"].removeprefix(client.server.url)
    return call(client.server.url, "GET", path, None, {"accept": "text/event-stream", **headers})


def test_a_stream_needs_no_key_and_is_not_kept_on_the_way(one: Client) -> None:
    told = one.run("one two three")
    reply = follow(one, told, **{"accept-encoding": "gzip"})
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "content-encoding" not in reply.headers
    found = events(reply)
    assert [event.data for event in found] == [*told["output"], "{}"]
    assert len({event.id for event in found}) == len(found)
    assert events(follow(one, told)) == found
    assert events(follow(one, told, **{"last-event-id": found[0].id})) == found[1:]


def test_readers_before_and_during_and_after_see_the_same(slow: Client) -> None:
    told = slow.create("one two three four five").json
    first = follow(slow, told)
    after = follow(slow, told)
    assert events(first) == events(after)
    assert [event.data for event in events(first)] == ["one", " two", " three", " four", " five", "{}"]


def test_a_reader_that_leaves_does_not_cancel(slow: Client) -> None:
    told = slow.create("one two three four").json
    with sent(slow.server.url, "GET", told["urls"]["stream"].removeprefix(slow.server.url)) as connection:
        assert connection.getresponse().readline() == b": connected\n"
    assert slow.until(told, "succeeded", "canceled")["status"] == "succeeded"


def test_a_canceled_prediction_ends_its_streams(slow: Client) -> None:
    told = slow.create(" ".join("word" for _ in range(50))).json
    with sent(slow.server.url, "GET", told["urls"]["stream"].removeprefix(slow.server.url)) as connection:
        answer = connection.getresponse()
        time.sleep(0.7)
        slow.ask("POST", f"/predictions/{told['id']}/cancel")
        assert answer.read().endswith(b'data: {"reason":"canceled"}\n\n')


def test_a_stream_that_waits_shows_that_it_is_alive(slow: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exchange.__init__, "__defaults__", (0.05, 60.0))
    told = slow.create("one two").json
    reply = follow(slow, told)
    assert reply.body.count(b": keep-alive\n\n") >= 3
    assert [event.data for event in events(reply)] == ["one", " two", "{}"]


def test_a_stream_that_is_not_there_is_a_problem(one: Client) -> None:
    reply = call(one.server.url, "GET", "/v1/streams/" + "0" * 48)
    assert problem(reply)["status"] == 404


def test_head_of_a_stream_does_not_follow_it(slow: Client) -> None:
    told = slow.create(" ".join("word" for _ in range(60))).json
    begun = time.monotonic()
    reply = call(slow.server.url, "HEAD", told["urls"]["stream"].removeprefix(slow.server.url))
    assert (reply.status, reply.body) == (200, b"")
    assert time.monotonic() - begun < 9  # its model talks for 18 s
    slow.ask("POST", f"/predictions/{told['id']}/cancel")
