"""Tasks over a WebSocket: the rules that every frame keeps, keys in every form, and sessions that go on elsewhere."""

from __future__ import annotations

import base64
import json
import time

import pytest
from runware_calls import PNG, caption, connected, new_uuid, post
from uploads import KEYS
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

PING = {"taskType": "ping", "ping": True}


def sessions_of(server):
    """What the server knows of sessions."""
    return endpoint_of(server).sessions


def endpoint_of(server):
    return next(route.endpoint for route in server.app._starlette.routes if hasattr(route.endpoint, "patience"))


# ---- frames ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/", "/runware/v1", "/runware/v1/", "/v1?sdk=js&version=1.3.2"])
def test_every_address_takes_sockets(server, path):
    with connected(server.url, path) as peer:
        assert peer.authenticate()["data"][0]["taskType"] == "authentication"
        assert peer.ask(caption())["data"][0]["text"] == "a b c"


def test_another_address_does_not(server):
    with pytest.raises(InvalidStatus), connected(server.url, "/v1/nothing"):
        pass


def test_the_answer_to_a_key_is_first_and_bare(keyed):
    with connected(keyed.url) as peer:
        peer.send({"apiKey": KEYS[0], "taskType": "authentication"})
        peer.send(PING)  # one client says this before it has its answer
        item = peer.item()
        assert list(item) == ["taskType", "connectionSessionUUID"]
        assert item["taskType"] == "authentication"
        assert peer.frame() == {"data": [{"taskType": "ping", "pong": True}]}


def test_one_outcome_a_frame(server):
    wrong = [caption(inputs={"image": "!"}), caption(model="no")]
    tasks = [caption(), *wrong, caption(), caption(deliveryMethod="async"), 7]
    with connected(server.url) as peer:
        peer.send(*tasks)
        frames = [peer.frame() for _ in tasks]
        assert peer.silent()
    outcomes = [(frame.get("data") or frame["errors"])[0] for frame in frames]
    assert {outcome.get("taskUUID") for outcome in outcomes} == {*(task["taskUUID"] for task in tasks[:-1]), None}
    assert sum("errors" in frame for frame in frames) == 3


def test_what_is_quick_does_not_wait_for_what_is_slow(server):
    slow, quick = caption(model="slow"), caption()
    with connected(server.url) as peer:
        peer.send(slow)
        peer.send(quick)
        peer.send(PING)
        seen = [peer.item() for _ in range(3)]
    assert [item.get("taskUUID") for item in seen] in (
        [None, quick["taskUUID"], slow["taskUUID"]], [quick["taskUUID"], None, slow["taskUUID"]],
    )  # fmt: skip


def test_a_task_and_the_question_for_it_back_to_back(server):
    task = caption(model="slow", deliveryMethod="async", includeCost=True)
    with connected(server.url) as peer:
        peer.send(task)
        peer.send({"taskType": "getResponse", "taskUUID": task["taskUUID"]})
        peer.send({"taskType": "getResponse", "taskUUID": task["taskUUID"]})
        named = {"taskType": "caption", "taskUUID": task["taskUUID"]}
        assert peer.item() == named
        assert peer.item() == {**named, "status": "processing"}
        assert peer.item() == {**named, "status": "processing"}
        # Told once, without another question.
        assert peer.item() == {**named, "status": "success", "text": "a b c", "cost": 0.0019}
        assert peer.silent()


def test_frames_that_are_no_tasks(server):
    with connected(server.url) as peer:
        for frame, code in (
            ("{", "invalidRequest"), ("[]", "arrayTooSmall"), ("[[]]", "invalidRequest"), ("", "invalidRequest"),
        ):  # fmt: skip
            peer.socket.send(frame)
            assert peer.error()["code"] == code
        peer.socket.send(json.dumps([PING]).encode())  # as bytes
        assert peer.item()["pong"] is True
        peer.socket.send(json.dumps(caption()))  # without an array
        assert peer.item()["text"] == "a b c"


def test_an_image_of_twelve_megabytes_in_one_frame(server):
    image = base64.b64encode(PNG + bytes(12 << 20)).decode()
    with connected(server.url) as peer:
        task = caption(inputs={"image": image})
        peer.send(task)
        item = peer.item(20)
        assert item["text"] == "a b c"
        details = peer.ask({"taskType": "getTaskDetails", "taskUUID": task["taskUUID"]})
        assert len(json.dumps(details)) < 2000


def test_a_frame_over_the_limit_is_that_tasks_alone(start):
    with start(most_body=100_000) as server, connected(server.url) as peer:
        task = caption(prompt="x" * 150_000)
        peer.send(task)
        error = peer.error()
        assert (error["code"], error["taskUUID"], error["taskType"]) == ("payloadTooLarge", task["taskUUID"], "caption")
        peer.socket.send("[" * 150_000)
        assert peer.error()["code"] == "payloadTooLarge"
        assert peer.ask(caption())["data"][0]["text"] == "a b c"
        peer.send(caption(prompt="x" * 250_000))  # more than is even looked at
        with pytest.raises(ConnectionClosedError) as caught:
            peer.frame()
        assert caught.value.rcvd.code == 1009


# ---- keys -----------------------------------------------------------------------------------------------------------


def test_a_key_in_the_handshake(keyed):
    with connected(keyed.url, additional_headers={"authorization": f"Bearer {KEYS[0]}"}) as peer:
        assert peer.ask(caption())["data"][0]["text"] == "a b c"
        assert len(peer.authenticate(KEYS[0])["data"][0]["connectionSessionUUID"]) == 36


def test_a_task_before_a_key(keyed):
    with connected(keyed.url) as peer:
        task = caption()
        error = peer.ask(task)["errors"][0]
        assert (error["code"], error["taskUUID"], error["taskType"]) == ("missingApiKey", task["taskUUID"], "caption")
        peer.authenticate(KEYS[0])
        assert peer.ask(task)["data"][0]["text"] == "a b c"


def test_a_frame_before_a_key_may_not_be_large(keyed):
    with connected(keyed.url) as peer:
        assert peer.ask(caption(prompt="x" * (1 << 20)))["errors"][0]["code"] == "payloadTooLarge"


@pytest.mark.parametrize("key", ["wrong", "", None, 7, [KEYS[0]]])
def test_a_wrong_key_is_told_at_once_and_the_socket_stays_open(keyed, key):
    with connected(keyed.url) as peer:
        frame = peer.authenticate(key)
        [error] = frame["errors"]
        code = "invalidApiKey" if key == "wrong" else "missingApiKey"
        assert frame["error"] == {"code": code, "message": error["message"]}
        assert (error["code"], error["parameter"], error["taskType"]) == (code, "apiKey", "authentication")
        assert "taskUUID" not in error
        assert peer.silent()
        assert peer.ask(PING)["data"][0]["pong"] is True
        assert peer.ask(caption())["errors"][0]["code"] == code
        assert peer.authenticate(KEYS[0])["data"]


def test_a_wrong_key_closes_after_a_while_however_often_it_pings(start):
    with start(keys=KEYS) as server:
        endpoint = endpoint_of(server)
        endpoint.patience = type(endpoint.patience)(wrong_key=0.5)
        with connected(server.url) as peer:
            peer.authenticate("wrong")
            with pytest.raises(ConnectionClosedOK) as caught:
                ping_for(peer, 5)
            assert caught.value.rcvd.code == 1000


def ping_for(peer, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        peer.ask(PING)
        time.sleep(0.05)


def test_who_never_says_who_it_is_is_closed(start):
    with start(keys=KEYS) as server:
        endpoint = endpoint_of(server)
        endpoint.patience = type(endpoint.patience)(key=0.3)
        with connected(server.url) as peer, pytest.raises(ConnectionClosedOK):
            peer.frame(5)


def test_pages_of_others_may_not_use_a_server_without_keys(server, keyed):
    for origin, welcome in (
        ("https://evil.example", False), ("null", False), ("http://localhost:3000", True), (server.url, True),
    ):  # fmt: skip
        if welcome:
            with connected(server.url, origin=origin) as peer:
                assert peer.ask(PING)["data"]
        else:
            with pytest.raises(InvalidStatus) as caught, connected(server.url, origin=origin):
                pass
            assert caught.value.response.status_code == 403
    with connected(keyed.url, origin="https://any.example") as peer:  # the key keeps others out
        assert peer.authenticate(KEYS[0])["data"]


# ---- sessions -------------------------------------------------------------------------------------------------------


def test_what_was_not_read_is_there_for_who_comes_back(keyed):
    task = caption(model="slow")
    with connected(keyed.url) as peer:
        session = peer.authenticate(KEYS[0])["data"][0]["connectionSessionUUID"]
        peer.send(task)
        peer.send(PING)
        assert peer.item()["pong"] is True
    time.sleep(1)  # it is finished while nobody is there
    with connected(keyed.url) as other:  # not for another key
        assert other.authenticate(KEYS[1], connectionSessionUUID=session)["data"][0]["connectionSessionUUID"] != session
        assert other.silent()
    with connected(keyed.url) as peer:
        frame = peer.authenticate(KEYS[0], connectionSessionUUID=session)
        assert frame["data"][0]["connectionSessionUUID"] == session
        assert peer.item() == {"taskType": "caption", "taskUUID": task["taskUUID"], "text": "a b c"}
        assert peer.silent()


def test_who_comes_back_early_gets_it_when_it_is_there(keyed):
    task = caption(model="slow", prompt="a b c d e")
    with connected(keyed.url) as peer:
        session = peer.authenticate(KEYS[0])["data"][0]["connectionSessionUUID"]
        peer.send(task)
        peer.ask(PING)
        with connected(keyed.url) as again:  # the first connection is there still
            frame = again.authenticate(KEYS[0], connectionSessionUUID=session)
            assert frame["data"][0]["connectionSessionUUID"] == session
            assert again.item()["text"] == "a b c d e"
        assert peer.silent()


def test_an_unknown_session_is_a_new_one(keyed):
    with connected(keyed.url) as peer:
        for unknown in (new_uuid(), 7, None, "x"):
            session = peer.authenticate(KEYS[0], connectionSessionUUID=unknown)["data"][0]["connectionSessionUUID"]
            assert session != unknown
            assert len(session) == 36


def test_the_same_task_again_over_another_socket_is_one_task(keyed):
    task = caption(model="slow", prompt="a b c d")
    with connected(keyed.url) as first, connected(keyed.url) as second:
        for peer in (first, second):
            peer.authenticate(KEYS[0])
            peer.send(task)
        assert first.item() == second.item() == {"taskType": "caption", "taskUUID": task["taskUUID"], "text": "a b c d"}
    usage = {"taskType": "accountManagement", "taskUUID": new_uuid(), "operation": "getDetails"}
    before = post(keyed.url, [usage], KEYS[0]).json["data"][0]["usage"]["total"]["requests"]
    assert post(keyed.url, [task], KEYS[0]).json["data"][0]["text"] == "a b c d"
    after = post(keyed.url, [usage], KEYS[0]).json["data"][0]["usage"]["total"]["requests"]
    assert before == after


def test_sessions_are_let_go_of(start):
    with start() as server:
        sessions = sessions_of(server)
        sessions._kept = 0.3
        with connected(server.url) as peer:
            peer.authenticate()
        with connected(server.url) as peer:
            peer.authenticate()
            peer.send(caption(model="slow", prompt="a b c d e f g h i j k l m"))
            peer.ask(PING)
        deadline = time.monotonic() + 10
        while sessions._connected or sessions._left:
            assert time.monotonic() < deadline
            time.sleep(0.05)
