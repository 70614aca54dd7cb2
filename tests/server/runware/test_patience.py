"""Captions that take longer than anybody waits: an answer in time, and a quick no to who comes behind them."""

from __future__ import annotations

import time

import pytest
from runware_calls import caption, connected, only_error, post
from uploads import KEYS

from triptych.server.dialects.runware.caption import Patience

WORDS = "a b c d e f g h i j"


def captions_of(server):
    endpoints = (route.endpoint for route in server.app._starlette.routes)
    return next(each for each in endpoints if hasattr(each, "patience")).tasks.captions


def polled(server, task):
    return post(server.url, [{"taskType": "getResponse", "taskUUID": task["taskUUID"]}])


def test_how_long_clients_wait():
    """Over HTTP a minute, on a WebSocket two: the answer must be there before."""
    assert Patience().http < 60 < Patience().socket < 120


def test_an_answer_that_takes_too_long_says_how_to_get_it(start):
    with start(delay=0.4) as server:
        post(server.url, [caption(), caption(model="slow", prompt="x")])  # both models run
        captions = captions_of(server)
        captions.patience = Patience(http=1)
        task = caption(model="slow", prompt=WORDS)
        reply = post(server.url, [task, caption()])  # the array's other caption was there in time
        assert reply.status == 200
        assert [item["text"] for item in reply.json["data"]] == ["a b c"]
        [error] = reply.json["errors"]
        assert (error["code"], error["taskUUID"]) == ("inferenceTimeout", task["taskUUID"])
        assert "getResponse" in error["message"]
        assert polled(server, task).json["data"][0]["status"] == "processing"
        reply = post(server.url, [task])  # the same one again is waited for once more
        assert (reply.status, only_error(reply)["code"]) == (504, "inferenceTimeout")
        assert int(reply.headers["retry-after"]) >= 1
        captions.patience = Patience()
        reply = post(server.url, [task])
        assert reply.json["data"] == [{"taskType": "caption", "taskUUID": task["taskUUID"], "text": WORDS}]


def test_all_captions_of_an_array_have_the_same_time(start):
    """However many there are: they are not waited for one after the other."""
    with start(delay=5) as server:
        captions_of(server).patience = Patience(http=1.5)
        post(server.url, [caption()])
        began = time.monotonic()
        reply = post(server.url, [caption(model="slow", prompt=WORDS) for _ in range(10)])
        assert [error["code"] for error in reply.json["errors"]] == ["inferenceTimeout"] * 10
        assert time.monotonic() - began < 10


def test_behind_one_that_is_late_nobody_is_let_in_to_wait(start):
    with start(delay=0.2, keys=KEYS) as server:
        key, captions = KEYS[0], captions_of(server)
        captions.patience = Patience(http=0.2)
        assert post(server.url, [caption(model="slow", prompt=WORDS)], key).status == 504
        captions.patience = Patience()
        behind = caption(model="slow")
        reply = post(server.url, [behind], key)
        error = only_error(reply)
        assert (reply.status, error["code"], error["taskUUID"]) == (429, "rateLimitExceeded", behind["taskUUID"])
        assert "deliveryMethod async" in error["message"]
        assert int(reply.headers["retry-after"]) >= 1
        assert post(server.url, [caption()], key).status == 200  # another model has no queue
        assert post(server.url, [caption(model="slow", deliveryMethod="async")], key).status == 200
        while (reply := post(server.url, [behind], key)).status == 429:  # with the UUID that was refused
            time.sleep(0.1)
        assert reply.json["data"][0]["text"] == "a b c"
        assert captions.late == {}


@pytest.mark.parametrize("again", [False, True])
def test_a_socket_hears_of_it_later(start, again):
    """A client that sends its task again is told once for each."""
    with start(delay=0.1) as server, connected(server.url) as peer:
        captions_of(server).patience = Patience(http=0.1)
        task = caption(model="slow", prompt=WORDS)
        peer.send(task)
        if again:
            peer.send(task)
        for _ in range(1 + again):
            assert peer.item()["text"] == WORDS
        assert peer.silent()
