"""Nobody who is slow, silent or half gone holds anything for long; and every task of any array has one outcome."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runware_calls import URI, caption, connected, new_uuid, post
from websockets.exceptions import ConnectionClosedOK

from triptych.server import start as starting
from triptych.server.dialects.runware.socket import SocketEndpoint

PING = {"taskType": "ping", "ping": True}


def endpoint_of(server) -> SocketEndpoint:
    return next(route.endpoint for route in server.app._starlette.routes if hasattr(route.endpoint, "patience"))


def be_patient(server, **seconds: float) -> SocketEndpoint:
    endpoint = endpoint_of(server)
    endpoint.patience = type(endpoint.patience)(**seconds)
    return endpoint


def until(true, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def plain(url: str, receive: int = 0) -> socket.socket:
    """A WebSocket by hand, with a small window if `receive` says so. Nothing of it answers pings or closes."""
    parts = urlsplit(url)
    peer = socket.socket()
    if receive:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    peer.settimeout(20)
    peer.connect((parts.hostname, parts.port))
    peer.sendall(
        b"GET /v1 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += peer.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return peer


def framed(text: str) -> bytes:
    """A text frame with a mask of zeros."""
    data = text.encode()
    assert 126 <= len(data) < 1 << 16
    return b"\x81" + bytes([0x80 | 126]) + len(data).to_bytes(2, "big") + bytes(4) + data


# ---- who is slow, silent or gone ------------------------------------------------------------------------------------


def test_who_does_not_read_is_let_go_of(start):
    with start() as server:
        endpoint = be_patient(server, unread=5)
        peer = plain(server.url, receive=4096)
        question = {"taskType": "modelSearch", "taskUUID": new_uuid(), "search": "", "tags": ["x" * 400]}
        peer.settimeout(2)
        sent = 0
        try:
            while sent < 64 << 20:  # it answers far less than this before it waits for its reader
                sent += peer.send(framed(json.dumps([question] * 40)))
        except TimeoutError:
            pass
        assert sent < 64 << 20
        assert endpoint.sessions._connected
        until(lambda: not endpoint.sessions._connected, 30)
        with connected(server.url) as other:
            assert other.ask(caption())["data"]
        peer.close()


def test_a_half_open_socket_is_found_by_pings(start, monkeypatch):
    monkeypatch.setattr("servers.websockets", lambda most: {
        **starting.websockets(most), "ws_ping_interval": 0.3, "ws_ping_timeout": 2,
    })  # fmt: skip
    with start() as server:
        endpoint = endpoint_of(server)
        with connected(server.url) as living:  # this one answers pings
            assert living.ask(PING)["data"]
            peer = plain(server.url)
            until(lambda: len(endpoint.sessions._connected) == 2)
            until(lambda: len(endpoint.sessions._connected) == 1)
            time.sleep(1)
            assert living.ask(PING)["data"]
        peer.close()


def test_pings_are_asked_for_where_it_is_served():
    asked = starting.websockets(64 << 20)
    assert 0 < asked["ws_ping_interval"] <= 30
    assert 0 < asked["ws_ping_timeout"] <= 60
    assert asked["ws_max_size"] >= 64 << 20


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such limit")
def test_connections_that_take_nothing_are_cut_off_by_the_system():
    listener = starting._listen("127.0.0.1", 0)
    client = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 90_000
    for each in (client, accepted, listener):
        each.close()


def test_a_silent_socket_is_closed_once_nothing_is_under_way(start):
    with start() as server:
        be_patient(server, idle=0.4)
        with connected(server.url) as peer:
            peer.send(caption(model="slow", prompt="a b c d e f"))  # longer than it may be silent
            assert peer.item()["text"] == "a b c d e f"
            with pytest.raises(ConnectionClosedOK) as caught:
                peer.frame(5)
            assert caught.value.rcvd.code == 1001


def test_a_client_that_breaks_off_leaves_its_work_to_itself(server):
    task = caption(model="slow", prompt="a b c d")
    peer = plain(server.url)
    peer.sendall(framed(json.dumps([{**task, "inputs": {"image": "https://127.0.0.1:1/" + "x" * 300}}])))
    peer.sendall(b"\x81")  # half a frame
    peer.close()
    assert post(server.url, [caption()]).status == 200


@pytest.mark.parametrize("junk", [b"\xff" * 200, b"\x81\x05hello", b"\x83\x80\0\0\0\0", b"\x81\xff" + b"\xff" * 12])
def test_what_is_no_websocket_ends_that_connection_alone(server, junk):
    with connected(server.url) as other:
        peer = plain(server.url)
        peer.sendall(junk)
        while peer.recv(4096):
            pass
        peer.close()
        assert other.ask(PING)["data"]


# ---- every task has one outcome -------------------------------------------------------------------------------------

IMAGES = st.sampled_from(
    [URI, "!", "", None, 7, "AAAA", new_uuid(), "https://host.invalid/x.png", [URI], [URI, URI], {}]
)
WORDS = st.sampled_from(["caption", "imageCaption", "ping", "getResponse", "modelSearch", "imageUpload", "mediaStorage",
                         "getTaskDetails", "accountManagement", "nothing", 7, None])  # fmt: skip
NAMES = [new_uuid() for _ in range(3)]
JUNK = st.one_of(st.none(), st.booleans(), st.integers(-5, 200), st.text(max_size=5), st.just([]), st.just({}))
FIELDS = st.fixed_dictionaries(
    {"taskType": WORDS},
    optional={
        "taskUUID": st.one_of(st.sampled_from(NAMES), st.builds(new_uuid), JUNK),
        "inputs": st.one_of(st.fixed_dictionaries({"image": IMAGES}), JUNK),
        "inputImage": IMAGES, "image": IMAGES, "media": IMAGES, "prompt": JUNK, "includeCost": JUNK, "ttl": JUNK,
        "model": st.sampled_from(["eye", "text", "nobody", 7, None]), "outputQuality": JUNK, "webhookURL": JUNK,
        "deliveryMethod": st.sampled_from(["sync", "async", "x", None, 7]), "operation": JUNK, "search": JUNK,
    },
)  # fmt: skip
ARRAYS = st.lists(st.one_of(FIELDS, JUNK), min_size=1, max_size=8)
SOME = settings(max_examples=60, suppress_health_check=list(HealthCheck))


def uuids(tasks: list[Any]) -> Counter[Any]:
    """The UUIDs that outcomes must have."""
    return Counter(
        task["taskUUID"] if isinstance(task, dict) and isinstance(task.get("taskUUID"), str) else None
        for task in tasks
        if not (isinstance(task, dict) and task.get("taskType") == "ping")
    )


@SOME
@given(tasks=ARRAYS)
def test_over_http_every_task_has_one_outcome(server, tasks):
    reply = post(server.url, tasks)
    outcomes = [*reply.json["data"], *reply.json.get("errors", [])]
    assert len(outcomes) == len(tasks)
    assert Counter(each.get("taskUUID") for each in outcomes if not each.get("pong")) == uuids(tasks)
    assert "internalServerError" not in reply.body.decode()


@SOME
@given(tasks=ARRAYS)
def test_over_a_socket_every_task_has_one_outcome(server, tasks):
    # Of what is polled one may hear twice, when it was not over the first time: that is another test's.
    tasks = [{**task, "taskType": "ping"} if is_poll(task) else task for task in tasks]
    with connected(server.url) as peer:
        peer.send(*tasks)
        frames = [peer.frame() for _ in tasks]
        peer.send(PING)
        assert peer.item() == {"taskType": "ping", "pong": True}
    outcomes = [(frame.get("data") or frame["errors"])[0] for frame in frames]
    assert Counter(each.get("taskUUID") for each in outcomes if not each.get("pong")) == uuids(tasks)
    assert "internalServerError" not in json.dumps(frames)


def is_poll(task: Any) -> bool:
    return isinstance(task, dict) and task.get("taskType") == "getResponse"
