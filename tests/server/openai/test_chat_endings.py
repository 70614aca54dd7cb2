"""Chats that do not come to their end: clients that go away, replicas that die, models that cannot be loaded."""

import json
import os
import signal
import time

import pytest
from http_calls import ask, sent
from servers import Running, null_models, serving

PATH = "/v1/chat/completions"


def messages(text: object = "a b c") -> list[dict]:
    return [{"role": "user", "content": text}]


def unfinished(server: Running) -> int:
    model = server.router.find("eye")

    async def look() -> int:
        client = await model.client()
        return (await client.report(5)).unfinished

    return server.do(look)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_request(stream):
    with serving(null_models(delay=0.1)) as server:
        body = {"model": "eye", "messages": messages("word " * 500), "stream": stream}
        with sent(server.url, "POST", PATH, body) as connection:
            if stream:
                assert connection.getresponse().readline().startswith(b"data: ")
            wait_for(lambda: unfinished(server) == 1)
        wait_for(lambda: unfinished(server) == 0)  # the whole answer would take 50 s


def test_a_client_that_goes_away_while_the_model_starts_leaves_nothing_behind():
    with serving(null_models(load_seconds=0.3)) as server:
        model = server.router.find("eye")
        with sent(server.url, "POST", PATH, {"model": "eye", "messages": messages()}):
            wait_for(lambda: model.state == "starting")
        wait_for(lambda: model.state == "ready")
        time.sleep(0.05)
        assert unfinished(server) == 0


def test_a_replica_that_is_killed_in_the_middle_of_a_stream():
    with serving(null_models(delay=0.02)) as server:
        body = {"model": "eye", "messages": messages("word " * 500), "stream": True}
        with sent(server.url, "POST", PATH, body) as connection:
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.readline().startswith(b"data: ")
            os.kill(server.router.find("eye").pid, signal.SIGKILL)
            *_, error, done, rest = answer.read().split(b"\n\n")
        assert json.loads(error.removeprefix(b"data: ")) == {
            "error": {
                "message": "The model eye died while it was answering.", "type": "server_error", "param": None,
                "code": "model_loading",
            }
        }  # fmt: skip
        assert (done, rest) == (b"data: [DONE]", b"")
        assert ask(server.url).json["choices"][0]["message"]["content"] == "a b c"


def test_a_replica_that_is_killed_in_the_middle_of_a_whole_answer():
    with serving(null_models(die_after=2)) as server:
        reply = ask(server.url)
        assert (reply.status, reply.error["type"], reply.error["code"]) == (503, "server_error", "model_loading")
        assert int(reply.headers["retry-after"]) >= 1


def test_a_model_that_cannot_be_loaded():
    with serving(null_models(fail="config.json is missing")) as server:
        reply = ask(server.url)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (503, "model_not_loaded", "model")
        assert "config.json is missing" in reply.error["message"]
        assert reply.headers["x-should-retry"] == "false"
        assert reply.headers["retry-after"]


def test_a_model_that_dies_at_every_request():
    with serving(null_models(die_after=0)) as server:
        for stream in (False, True):
            reply = ask(server.url, stream=stream)
            assert (reply.status, reply.error["code"]) == (503, "model_loading")


def wait_for(true) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
