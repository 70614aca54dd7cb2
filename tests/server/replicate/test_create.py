"""New predictions: every form of asking for one, what is answered at once and in time, and what is refused."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from http_calls import call, sent
from predicting import TIME, Client, problem
from servers import Running, serving, start_null
from uploads import ONE

from triptych.server.dialects.replicate.published import PINNED
from triptych.server.served import ModelSpec, ServedModel, Waits


def version_of(client: Client, name: str) -> str:
    return client.ask("GET", f"/models/{name}/versions").json["results"][0]["id"]


# ---- the object -----------------------------------------------------------------------------------------------------


def test_a_prediction_that_has_ended_is_complete(one: Client) -> None:
    reply = one.create("one two three", wait=20)
    told = reply.json
    assert reply.status == 201
    assert reply.headers["preference-applied"] == "wait=20"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["location"] == told["urls"]["get"] == f"{one.server.url}/v1/predictions/{told['id']}"
    assert reply.headers["x-triptych-model"] == "eye"
    assert list(told) == [
        "id", "model", "version", "input", "output", "logs", "error", "status", "data_removed", "source", "created_at",
        "started_at", "completed_at", "urls", "metrics",
    ]  # fmt: skip
    assert re.fullmatch("[0-9a-z]{26}", told["id"])
    assert (told["model"], told["version"]) == ("org/eye", version_of(one, "org/eye"))
    assert told["input"] == {"prompt": "one two three"}
    assert told["output"] == ["one", " two", " three"]
    assert (told["status"], told["error"], told["source"], told["data_removed"]) == ("succeeded", None, "api", False)
    assert "Answered here by eye." in told["logs"]
    times = [told[name] for name in ("created_at", "started_at", "completed_at")]
    assert all(re.fullmatch(TIME, moment) for moment in times)
    assert times == sorted(times)
    assert set(told["urls"]) == {"get", "cancel", "stream", "web"}
    assert all(url.startswith(one.server.url) for url in told["urls"].values())
    assert not re.match(r"/v1/files/", told["urls"]["stream"].removeprefix(one.server.url))
    numbers = told["metrics"]
    assert (numbers["input_token_count"], numbers["output_token_count"], numbers["image_token_count"]) == (3, 3, 0)
    assert numbers["total_time"] == pytest.approx(numbers["queue_time"] + numbers["predict_time"], abs=1e-5)
    assert 0 <= numbers["time_to_first_token"] <= numbers["predict_time"]
    assert numbers["tokens_per_second"] == pytest.approx(3 / numbers["predict_time"], rel=1e-3)
    assert one.get(told) == told
    page = one.ask("GET", told["urls"]["web"])
    assert (page.status, told["id"] in page.body.decode()) == (200, True)


def test_without_waiting_it_is_answered_as_it_begins(slow: Client) -> None:
    reply = slow.create("a b c d e f")
    told = reply.json
    assert (reply.status, told["status"], told["output"], told["error"]) == (201, "starting", None, None)
    assert (told["started_at"], told["completed_at"]) == (None, None)
    assert "metrics" not in told
    assert "preference-applied" not in reply.headers
    partial = slow.until(told, "processing")
    assert slow.until(told, "succeeded")["output"][: len(partial["output"] or [])] == (partial["output"] or [])


def test_one_that_takes_longer_than_its_caller_waits_is_starting(slow: Client) -> None:
    slow.run("warm")
    begun = time.monotonic()
    reply = slow.create("one two three four five six", wait=1)
    assert time.monotonic() - begun > 0.6
    told = reply.json
    assert reply.status == 202
    assert reply.headers["preference-applied"] == "wait=1"
    assert (told["status"], told["output"], told["started_at"]) == ("starting", None, None)
    assert slow.get(told)["status"] == "processing"
    assert slow.until(told, "succeeded")["output"] == ["one", " two", " three", " four", " five", " six"]


def test_a_caller_that_leaves_does_not_cancel(slow: Client) -> None:
    body = {"version": "org/eye", "input": {"prompt": "gone but not forgotten"}}
    with sent(slow.server.url, "POST", "/v1/predictions", body, {"prefer": "wait"}):
        time.sleep(0.4)
    found = slow.ask("GET", "/predictions").json["results"][0]
    assert found["input"]["prompt"] == "gone but not forgotten"
    assert slow.until(found, "succeeded", "canceled", "failed")["status"] == "succeeded"


# ---- which model ----------------------------------------------------------------------------------------------------


def test_every_form_of_naming_a_model(one: Client) -> None:
    version = version_of(one, "org/eye")
    body = {"input": {"prompt": "a"}}
    for asked in (version, f"org/eye:{version}", "org/eye", "ORG/Eye", "org/eye:latest", f"somebody/else:{version}"):
        reply = one.ask("POST", "/predictions", {**body, "version": asked}, prefer="wait")
        told = reply.json
        assert (reply.status, told["status"], told["output"]) == (201, "succeeded", ["a"]), asked
        assert reply.headers["x-triptych-model"] == "eye"
    assert one.ask("POST", "/models/org/eye/predictions", body).json["version"] == version
    deployed = one.ask("POST", "/deployments/org/eye/predictions", body).json
    assert (deployed["deployment"], deployed["model"]) == ("org/eye", "org/eye")
    assert one.ask("POST", "/models/triptych/text/predictions", body).json["model"] == "triptych/text"


@pytest.mark.parametrize(
    "version", ["latest", "nobody/nothing", "0" * 64, "org/eye:" + "0" * 64, "nobody/x:latest", ":"]
)
def test_an_unknown_version_says_what_is_accepted(one: Client, version: str) -> None:
    told = problem(one.create(version=version))
    assert (told["status"], told["title"]) == (422, "Invalid version or not permitted")
    assert "owner/name:<version id>" in told["detail"]


def test_a_version_of_another_model_is_refused(one: Client) -> None:
    told = problem(one.create(version=f"org/eye:{version_of(one, 'triptych/text')}"))
    assert told["status"] == 422
    assert "not of org/eye" in told["detail"]


@pytest.mark.parametrize("path", ["/models/nobody/x/predictions", "/deployments/nobody/x/predictions"])
def test_an_unknown_model_is_not_found(one: Client, path: str) -> None:
    assert problem(one.ask("POST", path, {"input": {"prompt": "a"}}))["status"] == 404


def test_pinned_public_versions_reach_the_model_of_that_name(tmp_path: Path) -> None:
    spec = ModelSpec("tiny", "null", ("yorickvp/llava-13b", "f" * 64), {})
    with serving([ServedModel(spec, start_null, waits=Waits(first=0.05))], data=tmp_path) as running:
        client = Client(running, {})
        for version in PINNED["yorickvp/llava-13b"]:
            told = client.run("a", version=version)
            assert (told["model"], told["version"]) == ("yorickvp/llava-13b", version)
            named = client.ask("GET", f"/models/any/name/versions/{version}")
            assert (named.status, named.json["id"]) == (200, version)
        assert client.run("a", version="f" * 64)["version"] == "f" * 64
        listed = client.ask("GET", "/models/yorickvp/llava-13b/versions").json["results"]
        assert [each["id"] for each in listed][1:] == list(PINNED["yorickvp/llava-13b"])
        other = PINNED["mistralai/mixtral-8x7b-instruct-v0.1"][0]
        assert problem(client.create(version=other))["status"] == 422


def test_a_stranger_is_told_what_really_answers(one: Client) -> None:
    told = one.run("a")
    assert told["model"] == "org/eye"
    assert told["logs"].startswith("org/eye: Answered here by eye. It runs null.")


# ---- headers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait", "wait"), ("wait=5", "wait=5"), ("WAIT=2.5", "wait=2.5"), ("wait=900", "wait=60"), ("wait=0", "wait=1"),
        ("respond-async, wait=3", "wait=3"), ("respond-async", None), ("wait=soon", None), ("wait=-1", None),
    ],
)  # fmt: skip
def test_prefer(one: Client, prefer: str, applied: str | None) -> None:
    reply = one.create("a", headers={"prefer": prefer})
    assert reply.status == 201
    assert reply.headers.get("preference-applied") == applied
    assert reply.json["status"] == ("starting" if applied is None else "succeeded")


def test_a_deadline_cancels_and_says_so(slow: Client) -> None:
    words = " ".join("word" for _ in range(60))
    told = slow.create(words, headers={"cancel-after": "5"}).json
    assert re.fullmatch(TIME, told["deadline"])
    ended = slow.until(told, "canceled", "succeeded")
    assert ended["status"] == "canceled"
    assert "deadline" in ended["logs"]
    assert ended["error"] is None
    assert 0 < len(ended["output"]) < 60


@pytest.mark.parametrize(("text", "status"), [("5", 201), ("30s", 201), ("1h30m45s", 201), ("5M", 201), ("4", 422),
                                              ("soon", 422), ("", 422), ("5s3m", 422), ("-5", 422)])  # fmt: skip
def test_cancel_after(one: Client, text: str, status: int) -> None:
    reply = one.create("a", headers={"cancel-after": text})
    assert reply.status == status
    if status != 201:
        assert "Cancel-After" in problem(reply)["detail"]


def test_an_idempotency_key_makes_one_prediction(one: Client, two: Client) -> None:
    key = {"idempotency-key": "the-same"}
    first = one.create("a b", headers=key).json
    again = one.create("a b", headers=key, wait=20)
    assert (again.json["id"], again.json["output"]) == (first["id"], ["a", " b"])
    assert two.create("a b", headers=key).json["id"] != first["id"]
    assert "Idempotency-Key" in problem(one.create("another", headers=key))["detail"]
    assert problem(one.create("a", headers={"idempotency-key": "a b"}))["status"] == 422


@pytest.mark.parametrize("mount", ["/v1", "", "/v1/v1", "/replicate/v1", "/replicate", "/replicate/v1/v1"])
def test_every_mount(server: Running, mount: str) -> None:
    client = Client(server, ONE, mount)
    told = client.run("a b")
    base = f"{server.url}{'/replicate' if 'replicate' in mount else ''}/v1"
    assert told["urls"]["get"] == f"{base}/predictions/{told['id']}"
    assert client.ask("GET", told["urls"]["get"]).json == client.get(told) == told
    assert client.ask("GET", "/predictions/").status == 200
    assert client.ask("GET", "/hardware").status == 200


def test_links_begin_with_what_the_caller_wrote(server: Running) -> None:
    headers = {**ONE, "host": "gpu.local:8080"}
    body = {"version": "org/eye", "input": {"prompt": "a"}}
    told = call(server.url, "POST", "/v1/predictions", body, headers).json
    assert told["urls"]["get"].startswith("http://gpu.local:8080/v1/")
    behind = {**ONE, "x-forwarded-host": "api.example", "x-forwarded-proto": "https"}
    reply = call(server.url, "POST", "/predictions", body, behind)
    assert reply.json["urls"]["stream"].startswith("https://api.example/v1/streams/")
    assert reply.headers["location"].startswith("https://api.example/v1/predictions/")
    odd = call(server.url, "POST", "/predictions", body, {**ONE, "x-forwarded-host": 'x"><script>'})
    assert "script" not in odd.body.decode()


# ---- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "field", "told"),
    [
        (b"{", 400, None, "not valid JSON"),
        (b"\xff", 400, None, "not"),
        (b'{"version": "org/eye", "input": ' + b'{"a":' * 100_000, 400, None, "nested"),
        ([], 422, "", "Expected: object, given: array"),
        ({}, 422, "", "version is required"),
        ({"version": "org/eye"}, 422, "", "input is required"),
        ({"version": 5, "input": {}}, 422, "version", "Expected: string, given: integer"),
        ({"version": "org/eye", "input": "a"}, 422, "input", "Expected: object, given: string"),
        ({"version": "org/eye", "input": {}}, 422, "input", "prompt is required"),
        ({"version": "org/eye", "input": {"prompt": "a"}, "webhook": "nowhere"}, 422, "webhook", "http"),
        ({"version": "org/eye", "input": {"prompt": "a"}, "webhook": "http://a.example/"}, 422, "webhook", "https"),
        ({"version": "org/eye", "input": {"prompt": "a"}, "webhook_events_filter": ["end"]}, 422,
         "webhook_events_filter", "must be one of"),
    ],
)  # fmt: skip
def test_a_body_that_is_wrong(one: Client, body: object, status: int, field: str | None, told: str) -> None:
    found = problem(one.ask("POST", "/predictions", body))
    assert found["status"] == status
    assert told in found["detail"]
    if field is not None:
        assert found["title"] == "Input validation failed"
        assert [each["field"] for each in found["invalid_fields"]] == [field]
        assert found["detail"].startswith("- ")
        assert found["detail"].endswith("\n")


def test_fields_that_nobody_knows_are_ignored(one: Client) -> None:
    reply = one.create("a", wait=20, debug=True, repetition_penalty=1.1, fields={"anything": 1, "stream": True})
    assert reply.json["status"] == "succeeded"
    assert "ignored: debug, repetition_penalty" in reply.json["logs"]
    assert reply.json["input"] == {"prompt": "a", "debug": True, "repetition_penalty": 1.1}


def test_a_client_in_place_of_an_input_is_refused_and_not_repeated(one: Client) -> None:
    leaked = {"auth": "r8_secret_token", "baseUrl": "https://x/v1", "userAgent": "replicate-javascript/1.4.0"}
    reply = one.ask("POST", "/predictions", {"version": "org/eye", "input": leaked})
    assert problem(reply)["status"] == 422
    assert "fileEncodingStrategy" in reply.json["detail"]
    assert "r8_secret" not in reply.body.decode()


@pytest.mark.parametrize("depth", [50, 400, 600, 900, 990])
def test_an_input_of_any_depth_is_kept_or_refused(one: Client, depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    body = f'{{"version": "org/eye", "input": {{"prompt": "a", "deep": {deep}}}}}'.encode()
    reply = one.ask("POST", "/predictions", body)
    assert reply.status in (201, 400)
    if reply.status == 201:
        assert one.get(reply.json)["input"] == json.loads(body)["input"]


def test_a_body_that_is_too_large(one: Client) -> None:
    assert problem(one.create("x" * (2 << 20)))["status"] == 413
