"""What comes to nothing costs nothing, wherever one looks: the caller's budget, rows of usage, the prediction."""

from __future__ import annotations

import json
import time

import pytest
from key_calls import new_key, order
from runware_calls import caption, hosting, new_uuid, only_error, post
from uploads import KEYS


def balance(server, key):
    account = {"taskType": "accountManagement", "taskUUID": new_uuid(), "operation": "getDetails"}
    [item] = post(server.url, [account], key).json["data"]
    return item["balance"], item["usage"]["total"]


def prediction(server, key):
    """The newest of a key, as an operator sees it."""
    return order(server, "GET", "/predictions", key=key).json["predictions"][0]


def unpaid(server, key):
    """Nothing was taken from a budget of $0.004, and nothing says that it was."""
    assert balance(server, key) == (pytest.approx(0.004), {"credits": 0.0, "requests": 0})
    assert order(server, "GET", "/usage/rows", key=key).json["usage"] == []


def until(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_a_caption_without_a_text_is_an_error_and_free(start):
    with start(keys=KEYS, wordless=True) as server, hosting({"/hook": (200, b"")}) as (url, got):
        poor = new_key(server, "poor", KEYS[0], budget="0.004", per="day")["key"]
        for _ in range(3):  # a caption that is paid is $0.0019: the third would not be let in
            task = caption(includeCost=True)
            reply = post(server.url, [task], poor)
            error = only_error(reply)
            assert (reply.status, error["code"]) == (500, "inferenceError")
            assert error["message"] == "The model eye ended its answer without a word."
        poll = post(server.url, [{"taskType": "getResponse", "taskUUID": task["taskUUID"]}], poor)
        assert (poll.status, poll.json["errors"][0]["code"]) == (200, "inferenceError")
        told = caption(webhookURL=f"{url}/hook", uploadEndpoint=f"{url}/put")
        assert post(server.url, [told], poor).status == 200
        [(_, path, _, body)] = until(lambda: got)
        assert (path, json.loads(body)["errors"][0]["code"]) == ("/hook", "inferenceError")
        seen = prediction(server, poor)
        assert seen["status"] == "failed"
        assert "cost" not in seen
        unpaid(server, poor)


def test_a_caption_that_is_canceled_is_free(start):
    with start(keys=KEYS) as server:
        poor = new_key(server, "poor", KEYS[0], budget="0.004", per="day")["key"]
        task = caption(model="slow", prompt="word " * 50, deliveryMethod="async")
        assert post(server.url, [task], poor).status == 200
        seen = until(lambda: (found := prediction(server, poor))["status"] == "processing" and found)
        assert order(server, "POST", f"/predictions/{seen['id']}/cancel", key=poor).json["status"] == "canceled"
        poll = post(server.url, [{"taskType": "getResponse", "taskUUID": task["taskUUID"]}], poor)
        assert poll.json["errors"][0]["code"] == "taskCancelled"
        until(lambda: balance(server, poor)[0] == pytest.approx(0.004))
        unpaid(server, poor)
