"""Captions as durable tasks: every field's limits, acknowledgement and polling, the same task again, webhooks, uploads
of the text, and what goes wrong while one runs.
"""

from __future__ import annotations

import base64
import json
import time

import pytest
from runware_calls import PNG, URI, caption, connected, hosting, new_uuid, only_error, post

from triptych.server.delivery.guard import Guard


def poll(server, uuid, key=None):
    return post(server.url, [{"taskType": "getResponse", "taskUUID": uuid}], key)


def finished(server, uuid, seconds=10):
    """The reply to a poll once the task is over."""
    deadline = time.monotonic() + seconds
    while (reply := poll(server, uuid)).json["data"] and reply.json["data"][0]["status"] == "processing":
        assert time.monotonic() < deadline
        time.sleep(0.03)
    return reply


# ---- fields that are wrong ------------------------------------------------------------------------------------------

QUALITY = {"min": 20, "max": 99, "default": 95}
WRONG = [
    ({"model": "nobody"}, "invalidModel", "model", "string", {}),
    ({"model": 7}, "invalidModel", "model", "string", {}),
    ({"inputs": None}, "missingInputImage", "inputs.image", "string", {}),
    ({"inputs": {}}, "missingInputImage", "inputs.image", "string", {}),
    ({"inputs": "x"}, "invalidInputs", "inputs", "object", {}),
    ({"inputs": {"image": 7}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": ""}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": []}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": "no base64!"}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": "AAAA"}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": "data:image/png;base64,!"}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": "data:nothing"}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": new_uuid()}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": "/etc/hostname"}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": "file:///etc/hostname"}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": "C:\\photo.png"}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": "./photo.png"}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": "http://user:secret@host/x.png"}}, "invalidInputImage", "inputs.image", "string", {}),
    ({"inputs": {"image": [URI, URI]}}, "unsupportedParameter", "inputs.image", "string", {}),
    ({"inputs": None, "inputImages": [URI, URI]}, "unsupportedParameter", "inputImages", "string", {}),
    ({"inputs": None, "inputImage": "!"}, "invalidInputImage", "inputImage", "string", {}),
    ({"inputs": {"video": "AAAA"}}, "unsupportedParameter", "inputs.video", "string", {}),
    ({"prompt": 7}, "invalidPrompt", "prompt", "string", {}),
    ({"prompt": ["a", 1]}, "invalidPrompt", "prompt", "string", {}),
    ({"template": "x"}, "unsupportedParameter", "template", "string", {}),
    ({"numberResults": 2}, "unsupportedParameter", "numberResults", "integer", {}),
    ({"numberResults": "1"}, "invalidNumberResults", "numberResults", "integer", {"min": 1}),
    ({"deliveryMethod": "stream"}, "invalidDeliveryMethod", "deliveryMethod", "string",
     {"allowedValues": ["sync", "async"], "default": "sync"}),
    ({"deliveryMethod": True}, "invalidDeliveryMethod", "deliveryMethod", "string", {}),
    ({"includeCost": "true"}, "invalidIncludeCost", "includeCost", "boolean", {}),
    ({"includeCost": 1}, "invalidIncludeCost", "includeCost", "boolean", {}),
    ({"outputType": "file"}, "invalidOutputType", "outputType", "string",
     {"allowedValues": ["URL", "base64Data", "dataURI"], "default": "URL"}),
    ({"outputFormat": "TIFF"}, "invalidOutputFormat", "outputFormat", "string",
     {"allowedValues": ["JPG", "PNG", "WEBP"], "default": "JPG"}),
    *(({"outputQuality": value}, "invalidOutputQuality", "outputQuality", "integer", QUALITY)
      for value in (19, 100, 95.5, "95", True)),
    *(({"ttl": value}, "invalidTtl", "ttl", "integer", {"min": 60}) for value in (59, 0, -1, 60.5, "60")),
    *(({name: value}, f"invalid{name[0].upper()}{name[1:]}", name, "string", {})
      for name in ("webhookURL", "uploadEndpoint")
      for value in ("", "x", "/hook", "ftp://host/x", "http://", 7, "http://a b/")),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "code", "parameter", "type", "more"), WRONG)
def test_a_field_that_is_wrong(server, fields, code, parameter, type, more):
    for delivery in ({}, {"deliveryMethod": "async"}):
        task = caption(**{**delivery, **fields})
        reply = post(server.url, [task])
        error = only_error(reply)
        assert reply.status == 400
        assert (error["code"], error["parameter"], error["type"]) == (code, parameter, type)
        assert (error["taskUUID"], error["taskType"]) == (task["taskUUID"], "caption")
        assert error["documentation"] == f"{server.url}/reference#group-runware"
        assert {name: error.get(name) for name in more} == more
        assert "secret" not in error["message"]
        assert poll(server, task["taskUUID"]).status == 404  # nothing is left of it


def test_a_uuid_that_was_wrong_once_can_be_used(server):
    task = caption(outputQuality=7)
    assert post(server.url, [task]).status == 400
    assert post(server.url, [{**task, "outputQuality": 77}]).status == 200


# ---- failures on the way --------------------------------------------------------------------------------------------


def failed(server, **fields):
    """The error of a task that was taken and came to nothing: told to who waits, and to who asks."""
    waited = caption(**fields)
    reply = post(server.url, [waited])
    error = only_error(reply)
    asked = caption(**fields, deliveryMethod="async")
    assert post(server.url, [asked]).status == 200
    told = finished(server, asked["taskUUID"])
    assert told.status == 200  # a failure that is reported as it should be
    same = only_error_of(told)
    assert same["status"] == "error"
    assert same["taskUUID"] == asked["taskUUID"]
    assert same["code"] == error["code"]
    return reply.status, error


def only_error_of(reply):
    [error] = reply.json["errors"]
    return error


def test_images_that_cannot_be_had(server):
    with hosting({"/page": (200, b"<html>"), "/gone": (410, b""), "/empty": (200, b"")}) as (url, _):
        for path in ("/missing", "/gone"):
            status, error = failed(server, inputs={"image": url + path})
            assert (status, error["code"], error["parameter"]) == (400, "downloadFailed", "inputs.image")
        assert failed(server, inputs={"image": f"{url}/empty"})[1]["code"] == "invalidInputImage"
        page = caption(inputs={"image": f"{url}/page"}, prompt="broken")
        assert only_error(post(server.url, [page]))["code"] == "invalidInputImage"
    refused = failed(server, inputs={"image": "http://127.0.0.1:1/x.png"})
    assert refused[1]["code"] == "downloadFailed"
    damaged = base64.b64encode(PNG[:100]).decode()
    assert failed(server, inputs={"image": damaged}, prompt="broken")[1]["code"] == "invalidInputImage"


def test_a_private_address_is_refused(start):
    with start(guard=Guard()) as server, hosting({"/x.png": (200, PNG)}) as (url, got):
        for address in (f"{url}/x.png", "http://169.254.169.254/latest/meta-data", "http://[::1]/x", "http://localhost/x"):
            status, error = failed(server, inputs={"image": address})
            assert (status, error["code"]) == (400, "invalidInputImage")
        assert got == []


def test_a_prompt_that_is_too_long(server):
    status, error = failed(server, prompt="word " * 5000)
    assert (status, error["code"], error["parameter"]) == (400, "invalidPromptLength", "prompt")


def test_a_model_that_turns_out_to_read_text_only(start):
    with start() as server:
        reply = post(server.url, [caption(model="text")])  # nobody knows before it has run
        error = only_error(reply)
        assert (reply.status, error["code"], error["parameter"]) == (400, "invalidModel", "model")


def test_a_task_that_failed_can_be_sent_again(server):
    answers = {"/late.png": [(404, b""), (200, PNG)]}
    with hosting(answers) as (url, _):
        task = caption(inputs={"image": f"{url}/late.png"})
        assert only_error(post(server.url, [task]))["code"] == "downloadFailed"
        assert post(server.url, [task]).json["data"][0]["text"] == "a b c"


# ---- acknowledged, polled, sent again -------------------------------------------------------------------------------


def test_an_acknowledgement_and_what_is_polled(server):
    task = caption(taskType="imageCaption", model="slow", deliveryMethod="async")
    reply = post(server.url, [task])
    assert reply.json == {"data": [{"taskType": "imageCaption", "taskUUID": task["taskUUID"]}]}
    named = {"taskType": "caption", "taskUUID": task["taskUUID"]}
    assert poll(server, task["taskUUID"]).json == {"data": [{**named, "status": "processing"}]}
    for _ in range(2):
        assert finished(server, task["taskUUID"]).json == {"data": [{**named, "status": "success", "text": "a b c"}]}


def test_what_was_waited_for_can_be_polled_too(server):
    task = caption(includeCost=True)
    post(server.url, [task])
    upper = task["taskUUID"].upper()
    assert poll(server, upper).json == {
        "data": [{"taskType": "caption", "taskUUID": upper, "status": "success", "text": "a b c", "cost": 0.0019}]
    }


def test_the_same_task_again(server):
    task = caption()
    first = post(server.url, [task]).json
    assert post(server.url, [task]).json == first
    assert post(server.url, [dict(reversed(task.items()))]).json == first
    assert post(server.url, [{**task, "ttl": None, "deliveryMethod": "sync"}]).json == first
    acknowledged = post(server.url, [{**task, "deliveryMethod": "async"}]).json
    assert acknowledged == {"data": [{"taskType": "caption", "taskUUID": task["taskUUID"]}]}
    for other in ({"prompt": "other"}, {"includeCost": True}, {"taskType": "imageCaption"}, {"model": "org/eye"}):
        reply = post(server.url, [{**task, **other}])
        assert (reply.status, only_error(reply)["code"]) == (400, "conflictTaskUUID")


def test_the_details_of_a_task(server):
    task = caption(model="slow", deliveryMethod="async", inputs={"image": URI, "prompt": "x" * 20_000})
    post(server.url, [task])
    question = {"taskType": "getTaskDetails", "taskUUID": task["taskUUID"]}
    [item] = post(server.url, [question]).json["data"]
    assert list(item) == ["taskType", "taskUUID", "request", "response"]
    [request] = item["request"]
    assert request["prompt"] == "a b c"
    assert URI not in json.dumps(request)
    assert request["inputs"]["image"].startswith("data:image/png;base64,")
    assert item["response"]["data"][0]["status"] == "processing"
    finished(server, task["taskUUID"])
    assert post(server.url, [question]).json["data"][0]["response"]["data"][0]["text"] == "a b c"
    reply = post(server.url, [{**question, "taskUUID": new_uuid()}])
    assert (reply.status, only_error(reply)["code"]) == (404, "taskNotFound")


# ---- told elsewhere -------------------------------------------------------------------------------------------------


def until(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_webhook_that_fails_twice_is_told_once(server):
    answers = {"/hook?token=1": [(500, b""), (503, b""), (200, b"")]}
    with hosting(answers) as (url, got):
        task = caption(webhookURL=f"{url}/hook?token=1", includeCost=True)
        assert post(server.url, [task]).json == {"data": [{"taskType": "caption", "taskUUID": task["taskUUID"]}]}
        until(lambda: len(got) == 3)
        time.sleep(0.5)
        assert len(got) == 3
        bodies = [json.loads(body) for _, _, _, body in got]
        item = {"taskType": "caption", "taskUUID": task["taskUUID"], "text": "a b c", "cost": 0.0019}
        assert bodies == [{"data": [item]}] * 3
        method, path, headers, _ = got[0]
        assert (method, path, headers["content-type"]) == ("POST", "/hook?token=1", "application/json")
        assert finished(server, task["taskUUID"]).json["data"][0]["text"] == "a b c"


def test_a_webhook_of_a_failure(server):
    with hosting({"/hook": (200, b"")}) as (url, got):
        task = caption(webhookURL=f"{url}/hook", uploadEndpoint=f"{url}/put", inputs={"image": f"{url}/missing"})
        assert post(server.url, [task]).status == 200
        until(lambda: any(path == "/hook" for _, path, _, _ in got))
        [body] = [json.loads(body) for _, path, _, body in got if path == "/hook"]
        assert list(body) == ["errors"]
        assert (body["errors"][0]["code"], body["errors"][0]["taskUUID"]) == ("downloadFailed", task["taskUUID"])
        assert not [path for _, path, _, _ in got if path == "/put"]  # there is no text to put there


def test_a_socket_that_says_sync_gets_the_result_as_well(server):
    with hosting({"/hook": (200, b"")}) as (url, _), connected(server.url) as peer:
        task = caption(webhookURL=f"{url}/hook", deliveryMethod="sync")
        peer.send(task)
        named = {"taskType": "caption", "taskUUID": task["taskUUID"]}
        assert peer.item() == named
        assert peer.item() == {**named, "text": "a b c"}


def test_the_text_is_put_where_it_is_wanted(server):
    answers = {"/put?signature=x": [(500, b""), (200, b"")]}
    with hosting(answers) as (url, got):
        task = caption(uploadEndpoint=f"{url}/put?signature=x", prompt="größer")
        assert post(server.url, [task]).json["data"][0] == {
            "taskType": "caption", "taskUUID": task["taskUUID"], "text": "größer",
        }  # fmt: skip
        until(lambda: len(got) == 2)
        for method, path, headers, body in got:
            assert (method, path, body.decode()) == ("PUT", "/put?signature=x", "größer")
            assert headers["content-type"] == "text/plain; charset=utf-8"
            assert headers["content-length"] == str(len(body))
            assert not {"authorization", "webhook-signature", "webhook-id"} & set(headers)


def test_what_cannot_be_told_or_put_does_no_harm(server):
    with hosting({"/hook": (200, b""), "/put": (403, b"")}) as (url, got):
        task = caption(uploadEndpoint=f"{url}/put", webhookURL=f"{url}/hook")
        post(server.url, [task])
        until(lambda: any(path == "/hook" for _, path, _, _ in got), 3)  # without waiting for the other
        gone = caption(uploadEndpoint="http://127.0.0.1:1/", webhookURL="http://127.0.0.1:1/")
        post(server.url, [gone])
        assert finished(server, gone["taskUUID"]).json["data"][0]["text"] == "a b c"


INSIDE = (
    "http://127.0.0.1/x", "https://[::1]/x", "https://10.1.2.3/x", "https://169.254.169.254/x",
    "https://localhost:8000/x", "https://[::ffff:10.0.0.1]/x",
)  # fmt: skip


def test_an_address_inside_is_refused_before_anything_runs(start):
    with start(guard=Guard()) as server:
        for name, code in (("webhookURL", "invalidWebhookURL"), ("uploadEndpoint", "invalidUploadEndpoint")):
            for address in INSIDE:
                task = caption(deliveryMethod="async", **{name: address})
                reply = post(server.url, [task])
                error = only_error(reply)
                assert (reply.status, error["code"]) == (400, code)
                assert (error["parameter"], error["type"]) == (name, "string")
                assert "not public" in error["message"]
                assert poll(server, task["taskUUID"]).status == 404
