"""A server that stops: what it has taken is answered, what is new is refused, and what is left is for the next one."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import pytest
from runware_calls import caption, connected, new_uuid, post
from uploads import KEYS
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

PING = {"taskType": "ping", "ping": True}


def stop(server) -> None:
    """Begin to stop it, as SIGTERM does."""

    async def told():
        server.server.should_exit = True

    server.do(told)
    deadline = time.monotonic() + 20
    while listens(server.url):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def listens(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as peer:
        return peer.connect_ex((parts.hostname, parts.port)) == 0


def closed(peer) -> int:
    """The code that it is closed with, before anything else is said."""
    with pytest.raises(ConnectionClosed) as caught:
        peer.frame(5)
    return caught.value.rcvd.code


def test_what_was_taken_is_answered_before_the_socket_is_closed(start):
    waited = caption(model="slow", prompt=" ".join("abcdefghijklmnop"))
    polled = caption(model="slow", prompt=" ".join("abcdefghijkl"), deliveryMethod="async")
    with start(drain=20) as server, connected(server.url) as peer, connected(server.url) as idle:
        assert idle.ask(PING)["data"]
        peer.send(waited)
        peer.send(polled)
        assert peer.item()["taskUUID"] == polled["taskUUID"]
        stop(server)
        assert closed(idle) == 1012  # at once: its client comes back to the next server
        refused = peer.ask(caption())["errors"][0]
        assert refused["code"] == "serviceUnavailable"
        assert peer.ask(PING)["data"] == [{"taskType": "ping", "pong": True}]
        question = {"taskType": "getResponse", "taskUUID": polled["taskUUID"]}
        answers = {"": peer.ask(question)["data"][0]}
        assert answers[""]["status"] == "processing"
        for _ in range(2):
            item = peer.item()
            answers[item["taskUUID"]] = item
        assert answers[waited["taskUUID"]]["text"] == waited["prompt"]
        assert answers[polled["taskUUID"]]["status"] == "success"
        assert closed(peer) == 1012


def test_no_new_connection_is_taken_meanwhile(start):
    task = caption(model="slow", prompt="a b c d e f")
    with start(drain=10) as server, connected(server.url) as peer:
        peer.send(task)
        peer.ask(PING)
        stop(server)
        with pytest.raises(OSError, match="refused"):
            post(server.url, [caption()])
        assert peer.item()["text"] == "a b c d e f"


def test_what_takes_too_long_is_for_the_next_server(start):
    waited = caption(model="slow", prompt=" ".join("abcdefghijkl"))
    polled = {**waited, "taskUUID": new_uuid(), "deliveryMethod": "async"}
    with start(keys=KEYS, drain=0.3) as server, connected(server.url) as peer:
        peer.authenticate(KEYS[0])
        peer.send(waited)
        peer.send(polled)
        assert peer.item()["taskUUID"] == polled["taskUUID"]
        stop(server)
        with pytest.raises(ConnectionClosedError) as caught:
            peer.frame()
        assert caught.value.rcvd.code == 1012
    with start(keys=KEYS) as server:
        with connected(server.url) as peer:
            peer.authenticate(KEYS[0], connectionSessionUUID=new_uuid())
            peer.send(waited)  # as its client would
            assert peer.item()["text"] == waited["prompt"]
        deadline = time.monotonic() + 10
        poll = {"taskType": "getResponse", "taskUUID": polled["taskUUID"]}
        while post(server.url, [poll], KEYS[0]).json["data"][0]["status"] != "success":
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_who_has_shown_no_key_holds_nothing_up(start):
    with start(keys=KEYS, drain=60) as server, connected(server.url) as peer:
        assert peer.ask(PING)["data"]
        began = time.monotonic()
        stop(server)
        assert closed(peer) == 1012
        assert time.monotonic() - began < 20
