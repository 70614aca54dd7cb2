"""What is counted is what was computed, however a request ends."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from http_calls import call
from servers import null_models, serving


@pytest.fixture(scope="module")
def server():
    with serving(null_models(delay=0.01)) as running:
        yield running


def measured(server):
    """Values of /metrics by name and labels."""
    text = call(server.url, "GET", "/metrics").body.decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def chat(words, **more):
    return {"model": "eye", "messages": [{"role": "user", "content": words}], **more}


def test_requests_that_end_break_off_and_fail_are_counted_apart(server):
    def success(reason):
        return f'vllm:request_success_total{{engine="0",finished_reason="{reason}",model_name="eye"}}'

    before = measured(server)
    assert call(server.url, "POST", "/v1/chat/completions", chat("one two three", n=2)).status == 200
    assert call(server.url, "POST", "/v1/chat/completions", chat("a b c", max_tokens=1)).status == 200
    assert call(server.url, "POST", "/v1/chat/completions", chat("word " * 5000)).status == 400
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
    body = json.dumps(chat("word " * 500, stream=True))
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read(300)
    answer.close()
    connection.close()
    deadline = time.monotonic() + 20
    while measured(server)[success("abort")] == before[success("abort")]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    after = measured(server)
    for reason in ("stop", "length", "abort", "error"):
        assert after[success(reason)] - before[success(reason)] == 1, reason
    labels = '{engine="0",model_name="eye"}'
    assert after[f"vllm:num_requests_running{labels}"] == after[f"vllm:num_requests_waiting{labels}"] == 0
    tokens = after[f"vllm:generation_tokens_total{labels}"] - before[f"vllm:generation_tokens_total{labels}"]
    assert tokens >= 3 * 2 + 1 + 1
    assert after[f"vllm:prompt_tokens_total{labels}"] - before[f"vllm:prompt_tokens_total{labels}"] >= 3 + 3
    assert after['http_requests_total{handler="/chat/completions",method="POST",status="4xx"}'] >= 1


def test_every_answer_has_a_request_id(server):
    for path in ("/health", "/version", "/metrics", "/v1/models", "/nowhere"):
        assert call(server.url, "GET", path).headers["x-request-id"].startswith("req_")
    assert call(server.url, "PUT", "/health", headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"


def test_what_is_not_served_is_said_so(server):
    answer = call(server.url, "POST", "/v1/embeddings", {"model": "eye", "input": "x"})
    assert (answer.status, answer.error["code"]) == (400, "unsupported_model")
    answer = call(server.url, "POST", "/v1/chat/completions", chat("x"), {"content-encoding": "gzip"})
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


def test_a_crowd_is_turned_away_and_those_inside_are_answered():
    with serving(null_models(delay=0.05), most_waiting=2) as server:
        call(server.url, "POST", "/v1/chat/completions", chat("start"))
        with ThreadPoolExecutor(6) as pool:
            answers = list(
                pool.map(lambda _: call(server.url, "POST", "/v1/chat/completions", chat("a b c d e f g h")), range(6))
            )
        assert sorted(answer.status for answer in answers) == [200, 200, 429, 429, 429, 429]
        refused = next(answer for answer in answers if answer.status == 429)
        assert (refused.error["code"], refused.headers["retry-after"]) == ("overloaded", "2")
        assert call(server.url, "POST", "/v1/completions", {"model": "eye", "prompt": ["x"] * 5}).status == 200
        labels = '{engine="0",model_name="eye",reason="queue_full"}'
        assert measured(server)[f"vllm:admission_rejections_total{labels}"] == 4
        assert call(server.url, "POST", "/v1/chat/completions", chat("after")).status == 200


@pytest.mark.parametrize("n", [1, 2])
def test_a_model_that_ends_without_an_answer_is_a_bad_gateway(n):
    """Of the last choice nothing is said: a text that may be whole or not is no answer."""
    bodies = {
        "/v1/chat/completions": chat("a b", n=n),
        "/v1/completions": {"model": "eye", "prompt": "a b", "n": n},
    }
    with serving(null_models(mute=1)) as server:
        replies = [call(server.url, "POST", path, body) for path, body in bodies.items()]
        replies.append(call(server.url, "POST", "/v1/responses", {"model": "eye", "input": "a b"}))
        for reply in replies:
            assert (reply.status, reply.error["code"]) == (502, "upstream_error")
            assert reply.error["message"] == "The model eye ended without an answer."
            assert reply.headers["x-should-retry"] == "false"
        for path, body in bodies.items():
            reply = call(server.url, "POST", path, {**body, "stream": True})
            last = reply.json if n == 1 else reply.chunks[-1]  # an error once the stream has begun is its last event
            assert (reply.status, last["error"]["code"]) == (502 if n == 1 else 200, "upstream_error")
        assert measured(server)['vllm:request_success_total{engine="0",finished_reason="error",model_name="eye"}'] == 5
