"""Keys that are guessed, taken away, or not for this: over HTTP and over a socket that is open for long."""

from __future__ import annotations

import json
import time

import pytest
from key_calls import new_key, order
from runware_calls import caption, connected, new_uuid, only_error, post
from uploads import KEYS
from websockets.exceptions import ConnectionClosedOK

from triptych.server.dialects.runware.socket import SocketEndpoint

BURST = 20
POLL = {"taskType": "getResponse", "taskUUID": new_uuid()}
MORE = "too many wrong keys"


def endpoint_of(server) -> SocketEndpoint:
    endpoints = (route.endpoint for route in server.app._starlette.routes)
    return next(endpoint for endpoint in endpoints if isinstance(endpoint, SocketEndpoint))


def guesses(server, count=BURST):
    """Wrong keys, as many as are looked at. However slow this machine is, no other is while a test runs."""
    endpoint_of(server).accounts.attempts._every = 1e6
    return [only_error(post(server.url, [POLL], f"guess {number}"))["code"] for number in range(count)]


def test_guesses_are_looked_at_no_more_and_a_known_key_goes_on(start):
    with start(keys=KEYS) as server:
        assert post(server.url, [caption()], KEYS[0]).status == 200
        assert guesses(server) == ["invalidApiKey"] * BURST
        for key in ("another guess", KEYS[1]):  # whether it is right is not even looked at
            reply = post(server.url, [caption()], key)
            error = only_error(reply)
            assert (reply.status, error["code"]) == (429, "rateLimitExceeded")
            assert MORE in error["message"].lower()
            assert int(reply.headers["retry-after"]) >= 1
        assert post(server.url, [caption()], KEYS[0]).status == 200
        assert post(server.url, [caption()]).status == 401  # no key is no guess


def test_guesses_in_bodies_and_frames_are_the_same(start):
    with start(keys=KEYS) as server, connected(server.url) as friend, connected(server.url) as peer:
        friend.authenticate(KEYS[0])
        guesses(server, 1)
        tried = [{"taskType": "authentication", "apiKey": f"try {number}"} for number in range(2 * BURST)]
        reply = post(server.url, [*tried, caption()])
        assert (reply.status, only_error(reply)["code"]) == (429, "rateLimitExceeded")
        frame = peer.authenticate("guess")
        [error] = frame["errors"]
        assert (error["code"], error["taskType"]) == ("rateLimitExceeded", "authentication")
        assert frame["error"] == {"code": error["code"], "message": error["message"]}
        assert peer.authenticate(KEYS[0])["data"]  # known from here
        assert friend.ask(caption())["data"][0]["text"] == "a b c"


def test_where_guesses_come_from_a_large_body_is_not_read(start):
    with start(keys=KEYS) as server:
        large = [{"taskType": "authentication", "apiKey": "guess"}, caption(prompt="x" * (2 << 20))]
        assert post(server.url, large).status == 401
        guesses(server)
        assert post(server.url, large).status == 413
        assert post(server.url, [{**large[0], "apiKey": "guess"}, caption()]).status == 429
        small = {"taskType": "authentication", "apiKey": KEYS[0]}
        assert post(server.url, [small, caption()]).status == 429  # a right one, but not known from here


def test_a_wrong_key_is_slowed_and_its_socket_is_closed(start):
    with start(keys=KEYS) as server:
        guesses(server)
        endpoint = endpoint_of(server)
        endpoint.patience = type(endpoint.patience)(wrong_key=0.4)
        with connected(server.url) as peer:
            assert peer.authenticate("guess")["errors"][0]["code"] == "rateLimitExceeded"
            with pytest.raises(ConnectionClosedOK) as caught:
                peer.frame(5)
            assert caught.value.rcvd.code == 1000


def test_a_key_that_is_taken_away_works_on_no_open_socket(start):
    with start(keys=KEYS) as server:
        made = new_key(server, "guest", KEYS[0])
        with connected(server.url) as peer:
            peer.authenticate(made["key"])
            assert peer.ask(caption())["data"]
            assert order(server, "POST", f"/keys/{made['id']}/revoke", key=KEYS[0]).status == 200
            task = caption()
            [error] = until_refused(peer, task)["errors"]
            assert (error["code"], error["taskType"]) == ("invalidApiKey", "caption")
            assert error["taskUUID"] == task["taskUUID"]
            assert "revoked" in error["message"]
            assert peer.authenticate(KEYS[0])["data"]
            assert peer.ask(caption())["data"]


def until_refused(peer, task, seconds=10):
    deadline = time.monotonic() + seconds
    while "errors" not in (frame := peer.ask(task)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return frame


def test_a_key_for_another_api_or_model(start):
    with start(keys=KEYS) as server:
        elsewhere = new_key(server, "elsewhere", KEYS[0], dialects=["openai"])["key"]
        reply = post(server.url, [caption()], elsewhere)
        error = only_error(reply)
        assert (reply.status, error["code"]) == (403, "permissionDenied")
        assert "openai" in error["message"]
        with connected(server.url) as peer:
            frame = peer.authenticate(elsewhere)
            assert frame["error"]["code"] == frame["errors"][0]["code"] == "permissionDenied"
        only_slow = new_key(server, "slow", KEYS[0], models=["slow"])["key"]
        tasks = [caption(), caption(model="slow")]
        reply = post(server.url, tasks, only_slow)
        assert [item["taskUUID"] for item in reply.json["data"]] == [tasks[1]["taskUUID"]]
        assert [(each["code"], each["taskUUID"]) for each in reply.json["errors"]] == [
            ("permissionDenied", tasks[0]["taskUUID"])
        ]


def test_a_rate_and_a_budget_are_each_tasks_own(start):
    with start(keys=KEYS) as server:
        two = new_key(server, "two a minute", KEYS[0], requests_per_minute=2)["key"]
        reply = post(server.url, [caption() for _ in range(3)], two)
        assert len(reply.json["data"]) == 2
        assert [each["code"] for each in reply.json["errors"]] == ["rateLimitExceeded"]
        assert reply.headers["x-ratelimit-remaining-requests"] == "0"
        poor = new_key(server, "poor", KEYS[0], budget="0.004", per="day")["key"]
        account = {"taskType": "accountManagement", "taskUUID": new_uuid(), "operation": "getDetails"}
        assert post(server.url, [account], poor).json["data"][0]["balance"] == pytest.approx(0.004)
        for _ in range(2):
            assert post(server.url, [caption(includeCost=True)], poor).json["data"][0]["cost"] == 0.0019
        reply = post(server.url, [caption()], poor)
        assert (reply.status, only_error(reply)["code"]) == (402, "insufficientCredits")
        assert post(server.url, [account], poor).json["data"][0]["balance"] == pytest.approx(0.0002)
        dry = post(server.url, [caption(includeCost=True)], poor, **{"x-runware-dry-run": "1"})
        assert json.loads(dry.body)["data"][0]["cost"] == 0.0019
