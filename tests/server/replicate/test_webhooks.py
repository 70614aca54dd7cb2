"""The request's side of webhooks: which events are told, and that each shows what GET does."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from functools import partial
from pathlib import Path

import pytest
from http_calls import call
from predicting import Client, problem
from servers import null_models, serving

from triptych.server.app import tell
from triptych.server.delivery.guard import Guard
from triptych.server.delivery.post import Poster
from triptych.server.dialects.replicate.webhooks import tell as told_by
from triptych.server.dialects.replicate.wire import EVENTS
from triptych.server.records import open_records
from triptych.server.store import webhooks as statements
from triptych.server.store.predictions import PredictionRecord
from triptych.server.store.webhooks import WebhookRecord

URL = "https://hooks.example/x"


def record(**more: object) -> PredictionRecord:
    fields = {
        "id": "p", "owner": "", "dialect": "replicate", "model": "m", "generation": "", "created_us": 1_000_000,
        "stream_token": "t", "shown": {"model": "a/b", "version": "v", "base": "http://x/v1"}, "webhook": URL, **more,
    }  # fmt: skip
    return PredictionRecord(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [((), [*EVENTS]), (("completed",), ["completed"]), (("logs", "start"), ["start", "logs"])],
)
def test_only_what_was_asked_for_is_told(wanted: tuple[str, ...], told: list[str]) -> None:
    assert [event for event in EVENTS if told_by(record(webhook_events=wanted), event)] == told
    assert told_by(record(webhook=None), "completed") == []


def test_each_dialect_tells_of_its_own() -> None:
    [message] = tell(record(), "completed")
    assert (message.prediction_id, message.event, message.url) == ("p", "completed", URL)
    assert message.due_us == message.created_us
    assert tell(record(dialect="another"), "completed") == []


def stored(data: Path, prediction_id: str) -> list[WebhookRecord]:
    async def read() -> list[WebhookRecord]:
        records = await open_records(data)
        found = await records.store.read(partial(statements.page, prediction_id=prediction_id))
        await records.close()
        return found[::-1]

    return asyncio.run(read())


def test_what_is_told_is_what_get_shows(tmp_path: Path) -> None:
    with serving(null_models(), data=tmp_path) as running:
        client = Client(running, {})
        fields = {"webhook": URL, "webhook_events_filter": ["start", "completed", "start"]}
        done = client.run("one two", fields=fields)
        assert (done["webhook"], done["webhook_events_filter"]) == (URL, ["start", "completed"])
        legacy = client.run("a", fields={"webhook_completed": URL})
        failed = client.create("a", max_tokens=0, wait=5, fields={"webhook": URL}).json
    told = stored(tmp_path, done["id"])
    assert [message.event for message in told] == ["start", "completed"]
    assert json.loads(told[1].body) == done
    begun = json.loads(told[0].body)
    assert (begun["status"], begun["output"], begun["completed_at"]) == ("processing", None, None)
    assert [message.event for message in stored(tmp_path, legacy["id"])] == ["completed"]
    [of_failed] = stored(tmp_path, failed["id"])
    assert json.loads(of_failed.body) == failed


def test_receivers_must_be_https(one: Client) -> None:
    for url in ("http://hooks.example/x", "ftp://hooks.example/", "hooks.example", "https://", "https://u:p@h/"):
        for field in ("webhook", "webhook_completed"):
            told = problem(one.create("a", fields={field: url}))
            assert told["status"] == 422
            assert told["invalid_fields"][0]["field"] == field


INSIDE = (
    "https://127.0.0.1/x", "https://10.0.0.1/x", "https://[::1]/x", "https://169.254.169.254/latest/meta-data",
    "https://localhost/x", "https://[::ffff:192.168.0.1]/x", "https://2130706433/x",
    # No caller's port is connected to but those of the web, whatever the name stands for.
    "https://hooks.example:8443/x", "https://93.184.215.14:22/x",
)  # fmt: skip


@pytest.mark.parametrize("url", INSIDE)
def test_a_receiver_that_nothing_is_sent_to_is_refused_and_nothing_is_kept(one: Client, url: str) -> None:
    kept = one.ask("GET", "/predictions").json["results"]
    for field in ("webhook", "webhook_completed"):
        told = problem(one.create("a", fields={field: url}))
        assert told["status"] == 422
        assert told["detail"].startswith(f"- {field}: ")
        [wrong] = told["invalid_fields"]
        assert (wrong["type"], wrong["field"]) == ("format", field)
        assert re.search("not public|no name, not|is not a name|port", wrong["description"]), wrong
    assert one.ask("GET", "/predictions").json["results"] == kept


def test_what_the_owner_allows_is_told(tmp_path: Path) -> None:
    poster = Poster(Guard.allowing(["127.0.0.1", "10.0.0.0/8"]), http=True)
    with serving(null_models(), data=tmp_path, poster=poster) as running:
        client = Client(running, {})
        for url in ("http://127.0.0.1:1/x", "https://10.0.0.1:8443/x", "https://hooks.example:8443/x"):
            assert client.create("a", fields={"webhook": url}).status == 201
        told = problem(client.create("a", fields={"webhook": "https://192.168.0.1/"}))
        assert "not public" in told["detail"]


def test_the_secret_is_one_that_clients_can_take_apart(one: Client, two: Client) -> None:
    reply = one.ask("GET", "/webhooks/default/secret")
    key = reply.json["key"]
    assert reply.json == {"key": key}
    head, tail = key.split("_")
    assert head == "whsec"
    assert len(base64.b64decode(tail, validate=True)) == 32
    assert one.ask("GET", "/webhooks/default/secret").json["key"] == key
    assert two.ask("GET", "/webhooks/default/secret").json["key"] != key
    assert problem(call(one.server.url, "GET", "/v1/webhooks/default/secret"))["status"] == 401
