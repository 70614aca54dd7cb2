"""Tasks over HTTP: every form of a caption, arrays with partial failure, keys, and every error of a whole request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from http_calls import call, raw
from runware_calls import BASE64, PNG, URI, caption, connected, hosting, new_uuid, only_error, post
from servers import Running
from uploads import KEYS

UUID = "2F0C8A1E-6f1b-7b0d-8a53-1c2f9f1f7a01"


def said(server: Running, **fields: Any) -> dict[str, Any]:
    """The one item of a caption."""
    reply = post(server.url, [caption(**fields)])
    assert reply.status == 200, reply.body
    assert list(reply.json) == ["data"]
    [item] = reply.json["data"]
    return item


# ---- captions -------------------------------------------------------------------------------------------------------


def test_an_item_has_what_the_contract_says_and_nothing_else(server):
    task = caption(taskUUID=UUID)
    reply = post(server.url, [task])
    assert reply.json == {"data": [{"taskType": "caption", "taskUUID": UUID, "text": "a b c"}]}
    assert reply.headers["x-triptych-model"] == "eye"
    again = post(server.url, [caption(includeCost=True)]).json["data"][0]
    assert list(again) == ["taskType", "taskUUID", "text", "cost"]
    assert again["cost"] == 0.0019


FORMS = [
    {"inputs": {"image": BASE64}},
    {"inputs": {"image": BASE64.rstrip("=")}},
    {"inputs": {"image": BASE64.replace("+", "-").replace("/", "_")}},
    {"inputs": {"image": "\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76))}},
    {"inputs": {"image": URI.replace("image/png", "image/heic")}},
    {"inputs": {"image": [URI]}},
    {"inputs": {"images": [URI]}},
    {"inputs": {"video": URI}},
    {"inputs": None, "inputImage": URI},
    {"inputs": None, "inputImages": [URI]},
    {"inputs": {"image": None}, "inputImage": URI},
    {"taskType": "imageCaption", "inputs": None, "inputImage": URI},
    {"prompt": None, "inputs": {"image": URI, "prompt": "a b c"}},
    {"prompt": ["a", "b c"]},
    {"prompt": "a b c", "inputs": {"image": URI, "prompt": "another"}},
    {"model": "llava"}, {"model": "org/eye"}, {"model": "EYE"},
    {"numberResults": 1}, {"unknownField": {"x": [1]}}, {"routing": {"x": 1}}, {"webhookURL": None},
    {"outputType": "dataURI"}, {"outputType": "base64data"}, {"outputFormat": "webp"}, {"outputQuality": 20},
    {"outputQuality": 95.0}, {"outputQuality": 99}, {"ttl": 60}, {"deliveryMethod": "sync"}, {"includeCost": False},
]  # fmt: skip


@pytest.mark.parametrize("fields", FORMS)
def test_every_form_of_a_caption(server, fields):
    item = said(server, **fields)
    assert item["text"] == "a b c"
    assert item["taskType"] == fields.get("taskType", "caption")


def test_a_url_with_and_without_a_scheme(server):
    with hosting({"/p.png": (200, PNG)}) as (url, got):
        assert said(server, inputs={"image": f"{url}/p.png"})["text"] == "a b c"
        assert [path for _, path, _, _ in got] == ["/p.png"]


def test_without_a_prompt_it_is_described(server):
    for prompt in (None, "", "  \n", []):
        assert said(server, prompt=prompt)["text"] == "Describe this image in detail."


def test_without_a_model_the_usual_one_answers(start):
    with start() as server:
        error = only_error(post(server.url, [caption(model=None)]))  # there is none of this name, and several others
        assert (error["code"], error["parameter"]) == ("invalidModel", "model")


def test_a_bare_object_and_other_addresses(server):
    task = caption()
    for path in ("/v1", "/v1/", "/", "/runware/v1", "/runware/v1/", "/v1/caption", "/v1/imageCaption"):
        task["taskUUID"] = new_uuid()
        assert post(server.url, task, path=path).json["data"][0]["taskUUID"] == task["taskUUID"]


def test_other_methods_and_paths_are_told_in_this_form(server):
    for path in ("/v1", "/runware/v1"):
        reply = call(server.url, "GET", path)
        assert (reply.status, reply.json["errors"][0]["code"]) == (405, "methodNotAllowed")
        assert reply.headers["allow"] == "OPTIONS, POST"
        assert call(server.url, "OPTIONS", path).status == 204
    reply = call(server.url, "POST", "/runware/v1/nothing/at/all", [])
    assert (reply.status, reply.json["error"]["code"]) == (404, "notFound")


def test_a_model_that_reads_text_only(server):
    error = only_error(post(server.url, [caption(model="text")]))
    assert (error["code"], error["parameter"]) == ("invalidModel", "model")
    assert "eye" in error["message"]


def test_a_dry_run_runs_nothing(server):
    task = caption(includeCost=True)
    for headers, path in (({"x-runware-dry-run": "1"}, "/v1"), ({}, "/v1?dryRun=1")):
        reply = post(server.url, [task], path=path, **headers)
        assert reply.json["data"][0] == {
            "taskType": "caption", "taskUUID": task["taskUUID"], "text": "[dry run]", "cost": 0.0019,
        }  # fmt: skip
    poll = post(server.url, [{"taskType": "getResponse", "taskUUID": task["taskUUID"]}])
    assert (poll.status, only_error(poll)["code"]) == (404, "taskFailedOrNotFound")
    bad = post(server.url, [caption(model="nobody")], **{"x-runware-dry-run": "1"})
    assert only_error(bad)["code"] == "invalidModel"


# ---- arrays ---------------------------------------------------------------------------------------------------------


def test_what_is_wrong_with_one_spoils_no_other(server):
    tasks = [caption(prompt="one"), caption(inputs={"image": "!!"}), caption(prompt="three"), caption(taskType="x")]
    reply = post(server.url, tasks)
    assert reply.status == 200
    assert [(item["taskUUID"], item["text"]) for item in reply.json["data"]] == [
        (tasks[0]["taskUUID"], "one"), (tasks[2]["taskUUID"], "three"),
    ]  # fmt: skip
    assert [(error["taskUUID"], error["code"]) for error in reply.json["errors"]] == [
        (tasks[1]["taskUUID"], "invalidInputImage"), (tasks[3]["taskUUID"], "unsupportedTaskType"),
    ]  # fmt: skip
    assert "error" not in reply.json


def test_when_nothing_succeeds_the_first_error_has_the_status(server):
    unknown = {"taskType": "getResponse", "taskUUID": new_uuid()}
    assert post(server.url, [unknown, caption(model="x")]).status == 404
    assert post(server.url, [caption(model="x"), unknown]).status == 400


def test_two_tasks_with_one_uuid(server):
    task = caption()
    reply = post(server.url, [task, task, {**task, "taskUUID": task["taskUUID"].upper()}])
    assert len(reply.json["data"]) == 1
    assert [error["code"] for error in reply.json["errors"]] == ["conflictTaskUUID"] * 2


def test_a_later_task_may_be_about_an_earlier_one(server):
    task = caption(deliveryMethod="async")
    reply = post(server.url, [task, {"taskType": "getResponse", "taskUUID": task["taskUUID"]}])
    ack, poll = reply.json["data"]
    assert ack == {"taskType": "caption", "taskUUID": task["taskUUID"]}
    assert poll["status"] in ("processing", "success")


# ---- requests that are wrong as a whole, or tasks by themselves ------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalidRequest"), (b"{", 400, "invalidRequest"), (b"nonsense", 400, "invalidRequest"),
        (b'"a"', 400, "invalidRequest"), (b"7", 400, "invalidRequest"), (b"null", 400, "invalidRequest"),
        (b"\xff\xfe", 400, "invalidRequest"), (b"[" * 100_000, 400, "invalidRequest"),
        (b"[]", 400, "arrayTooSmall"), (b"[1]", 400, "invalidRequest"),
        (b'[{"taskType":"caption"}]', 400, "missingTaskUUID"),
        (b"[{}]", 400, "missingTaskType"), (json.dumps([{}] * 101).encode(), 400, "arrayTooLarge"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_tasks(server, body, status, code):
    reply = post(server.url, body)
    assert (reply.status, reply.json["errors"][0]["code"]) == (status, code)
    assert "taskUUID" not in reply.json["errors"][0]


def test_a_content_type_may_be_missing_but_not_wrong(server):
    body = json.dumps([{"taskType": "ping", "ping": True}]).encode()
    peer = raw(server.url, b"POST /v1 HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    assert peer.recv(4096).startswith(b"HTTP/1.1 200 ")
    peer.close()
    reply = post(server.url, body, **{"content-type": "text/plain"})
    assert (reply.status, only_error(reply)["code"]) == (415, "unsupportedMediaType")


def test_a_body_over_the_limit(start):
    with start(most_body=10_000) as server:
        reply = post(server.url, [caption(prompt="x" * 20_000)])
        assert (reply.status, only_error(reply)["code"]) == (413, "payloadTooLarge")


@pytest.mark.parametrize("uuid", [None, "", "x", 7, {}, "2f0c8a1e6f1b4b0d8a531c2f9f1f7a01", f"{UUID}0", f"{{{UUID}}}"])
def test_a_uuid_that_is_missing_or_none(server, uuid):
    error = only_error(post(server.url, [caption(taskUUID=uuid)]))
    assert error["code"] == ("missingTaskUUID" if uuid is None else "invalidTaskUUID")
    assert error.get("taskUUID") == (uuid if isinstance(uuid, str) else None)
    assert error["parameter"] == "taskUUID"


@pytest.mark.parametrize("task_type", ["", "imageInference", "CAPTION", 7, ["caption"], {}])
def test_a_type_that_is_none(server, task_type):
    error = only_error(post(server.url, [caption(taskType=task_type)]))
    assert (error["code"], error["parameter"], error["type"]) == ("unsupportedTaskType", "taskType", "string")
    assert "caption" in error["allowedValues"]


def test_too_many_that_wait(start):
    with start(most_waiting=1) as server, connected(server.url) as peer:
        first = caption(model="slow", prompt="a b c d e f g h")
        peer.send(first)
        poll = {"taskType": "getResponse", "taskUUID": first["taskUUID"]}
        while post(server.url, [poll]).status != 200:
            pass
        reply = post(server.url, [caption(model="slow")])
        assert (reply.status, only_error(reply)["code"]) == (429, "rateLimitExceeded")
        assert int(reply.headers["retry-after"]) >= 1
        kept = post(server.url, [caption(model="slow", deliveryMethod="async")])
        assert kept.status == 200  # nobody waits for it


# ---- keys -----------------------------------------------------------------------------------------------------------

AUTHENTICATION = {"taskType": "authentication", "apiKey": KEYS[0]}


def test_a_key_in_the_header_or_in_a_task(keyed):
    for key, tasks in (
        (KEYS[0], [caption()]), (None, [AUTHENTICATION, caption()]), ("wrong", [AUTHENTICATION, caption()]),
        (KEYS[1], [{**AUTHENTICATION, "apiKey": "wrong"}, caption()]),
    ):  # fmt: skip
        reply = post(keyed.url, tasks, key)
        assert reply.status == 200
        assert [item["text"] for item in reply.json["data"]] == ["a b c"]
    assert post(keyed.url, [caption()], authorization=f"bearer   {KEYS[0]}").status == 200


@pytest.mark.parametrize(
    ("key", "tasks", "code"),
    [
        (None, [caption()], "missingApiKey"), ("", [caption()], "missingApiKey"),
        ("wrong", [caption()], "invalidApiKey"),
        (None, [{**AUTHENTICATION, "apiKey": "wrong"}, caption()], "invalidApiKey"),
        (None, [{**AUTHENTICATION, "apiKey": 7}, caption()], "missingApiKey"),
        (None, [{"taskType": "authentication"}], "missingApiKey"),
        (None, [{"taskType": "ping", "ping": True}], "missingApiKey"),
    ],
)  # fmt: skip
def test_without_a_right_key_nothing_is_told(keyed, key, tasks, code):
    reply = post(keyed.url, tasks, key)
    error = only_error(reply)
    assert (reply.status, error["code"], error["parameter"]) == (401, code, "apiKey")
    assert error["taskType"] == "authentication"
    assert "taskUUID" not in error
    assert reply.headers["www-authenticate"] == "Bearer"


def test_a_key_alone_is_answered(keyed):
    [item] = post(keyed.url, [AUTHENTICATION]).json["data"]
    assert list(item) == ["taskType", "connectionSessionUUID"]
    assert len(item["connectionSessionUUID"]) == 36
    assert post(keyed.url, [{"taskType": "ping", "ping": True}], KEYS[0]).json == {
        "data": [{"taskType": "ping", "pong": True}]
    }


def test_what_one_key_made_the_other_does_not_see(keyed):
    task = caption()
    assert post(keyed.url, [task], KEYS[0]).status == 200
    poll = {"taskType": "getResponse", "taskUUID": task["taskUUID"]}
    assert post(keyed.url, [poll], KEYS[0]).json["data"][0]["text"] == "a b c"
    assert post(keyed.url, [poll], KEYS[1]).status == 404
    other = {**task, "prompt": "mine"}  # the same UUID of another key is another task
    assert post(keyed.url, [other], KEYS[1]).json["data"][0]["text"] == "mine"


def test_everything_is_a_prediction_and_in_no_other_dialects_lists(keyed):
    task = caption()
    post(keyed.url, [task], KEYS[0])
    seen = call(keyed.url, "GET", "/replicate/v1/predictions", headers={"authorization": f"Bearer {KEYS[0]}"})
    assert seen.json["results"] == []
    question = {"taskType": "accountManagement", "taskUUID": new_uuid(), "operation": "getDetails"}
    usage = post(keyed.url, [question], KEYS[0])
    total = usage.json["data"][0]["usage"]["total"]
    assert total["requests"] >= 1
    assert total["credits"] == round(total["requests"] * 0.0019, 4)
