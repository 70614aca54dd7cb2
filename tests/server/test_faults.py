"""Faults while answers are under way, with real replicas of the embedded models: what others get, what is left.

What replicas that answer by rule can show stands in test_served.py and openai/test_chat_endings.py.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse

import pytest
from http_calls import Reply, ask, call, sent
from image_host import image_host
from one_object import PICTURES, draw
from picture_files import encoded
from servers import Running, serving, start_null

from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.names import ALIASES
from triptych.server.served import ModelSpec, ServedModel, Waits

# Steps are small, so that what ends between two of them ends soon on a slow machine too.
OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20, "token_budget": 256}
EYE, SUMS = "triptych/tiny-llava-1.6", "triptych/tiny-mixtral"
PATH = "/v1/chat/completions"
# Goes on until it is told to stop: no end token is drawn.
LONG = {"max_tokens": 1500, "ignore_eos": True, "temperature": 0}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """The three embedded models, and images from anywhere on this machine."""
    models = [ServedModel(ModelSpec(name, name, ALIASES[name], OPTIONS), waits=Waits(first=0.05)) for name in ALIASES]
    fetcher = ImageFetcher(Guard.allowing(["127.0.0.0/8"]))
    with serving(models, fetcher.read, on_stop=fetcher.close) as running:
        for name in ALIASES:
            running.do(running.router.find(name).ready)
        yield running


def question(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def shown(data: bytes, text: str) -> list[dict]:
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]


def said(reply: Reply) -> str:
    assert reply.status == 200, reply.body
    return reply.json["choices"][0]["message"]["content"]


def a_sum_is_right(url: str) -> None:
    assert said(ask(url, "What is 17 + 25?", SUMS, temperature=0)) == "42"


def slots(server: Running, model: str) -> tuple[int, int]:
    """Requests under way at a model as operators see them, and as its replica does."""

    async def look() -> int:
        return (await (await server.router.find(model).client()).report(5)).unfinished

    listed = call(server.url, "GET", "/triptych/v1/models").json["models"]
    return next(each["requests"] for each in listed if each["name"] == model), server.do(look)


def wait_for(true, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def free_soon(server: Running, model: str) -> None:
    wait_for(lambda: slots(server, model) == (0, 0), 4.0)
    metrics = call(server.url, "GET", "/metrics").body.decode()
    [running] = re.findall(rf'^vllm:num_requests_running{{.*model_name="{model}".*}} (\S+)$', metrics, re.MULTILINE)
    assert float(running) == 0


def broken_off(answer: HTTPResponse) -> dict:
    """The error at the end of a stream whose beginning was read."""
    *_, error, done, rest = answer.read().split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return json.loads(error.strip().removeprefix(b"data: "))["error"]


# ---- replicas -------------------------------------------------------------------------------------------------------


def test_a_replica_that_is_killed_in_the_middle_of_a_stream(server):
    pid = server.router.find(SUMS).pid
    body = {"model": SUMS, "messages": question("What is 17 + 25?"), "stream": True, **LONG}
    with sent(server.url, "POST", PATH, body) as connection:
        answer = connection.getresponse()
        assert answer.readline().startswith(b"data: ")
        os.kill(pid, signal.SIGKILL)
        assert broken_off(answer)["code"] == "model_loading"
    a_sum_is_right(server.url)
    assert server.router.find(SUMS).pid != pid


def test_a_replica_that_hangs_in_the_middle_of_a_stream():
    waits = Waits(first=0.05, look=0.1, hung=0.5)
    spec = ModelSpec("one", "null", (), {"delay": 0.02})
    with serving([ServedModel(spec, start_null, waits=waits)]) as server:
        body = {"model": "one", "messages": question("word " * 2000), "stream": True}
        with sent(server.url, "POST", PATH, body) as connection:
            answer = connection.getresponse()
            assert answer.readline().startswith(b"data: ")
            begun = time.monotonic()
            os.kill(server.router.find("one").pid, signal.SIGSTOP)
            assert broken_off(answer)["code"] == "model_loading"
        assert 0.4 < time.monotonic() - begun < 20
        assert said(ask(server.url, model="one")) == "a b c"


# ---- clients --------------------------------------------------------------------------------------------------------


def test_a_client_that_goes_away_in_the_middle_of_a_stream(server):
    body = {"model": SUMS, "messages": question("What is 17 + 25?"), "stream": True, **LONG}
    with sent(server.url, "POST", PATH, body) as connection:
        answer = connection.getresponse()
        assert answer.readline().startswith(b"data: ")
        assert slots(server, SUMS) == (1, 1)
    free_soon(server, SUMS)
    a_sum_is_right(server.url)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_during_prefill(server, stream):
    # Some seconds of work; each time another text, so that nothing of it is there already.
    text = f"{stream} " + "What color is the circle? " * 600
    body = {"model": EYE, "messages": question(text), "stream": stream, **LONG, "max_tokens": 20}
    with sent(server.url, "POST", PATH, body):
        wait_for(lambda: slots(server, EYE) == (1, 1))
    free_soon(server, EYE)


async def test_a_client_that_goes_away_while_an_image_downloads(server):
    async def stuck(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        for _ in range(3000):  # a byte now and then: it shows when nobody listens any more
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with image_host({"/slow.png": stuck}) as host:
        parts = [{"type": "image_url", "image_url": {"url": f"{host.url}/slow.png"}}, {"type": "text", "text": "What?"}]
        body = json.dumps({"model": EYE, "messages": [{"role": "user", "content": parts}]}).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        head = [f"POST {PATH} HTTP/1.1", "host: x", "content-type: application/json", f"content-length: {len(body)}"]
        writer.write("\r\n".join([*head, "\r\n"]).encode() + body)
        async with asyncio.timeout(10):
            while not host.requests:
                await asyncio.sleep(0.01)
        assert host.open == 1
        writer.close()
        async with asyncio.timeout(10):
            while host.open:
                await asyncio.sleep(0.01)
    await asyncio.to_thread(free_soon, server, EYE)


# ---- bad requests beside good ones ----------------------------------------------------------------------------------


def test_a_bad_request_beside_good_ones_harms_nobody_else(server):
    """A picture that ends early passes every check of its header, and fails when it is decoded, beside the others."""
    damaged = encoded(draw("red", "circle", 900), "JPEG", quality=95)
    bad = shown(damaged[: len(damaged) // 2], "What color is the circle?")
    good = [(color, shown(encoded(draw(color, shape, side)), f"What color is the {shape}?"))
            for color, shape in PICTURES for side in (200, 230, 260)]  # fmt: skip
    with ThreadPoolExecutor(16) as pool:
        refused = [pool.submit(ask, server.url, bad, EYE, temperature=0) for _ in range(2)]
        answers = [pool.submit(ask, server.url, parts, EYE, temperature=0, max_tokens=20) for _, parts in good]
        too_long = pool.submit(ask, server.url, "1 + 1 " * 5000, EYE)
        wrong = pool.submit(ask, server.url, "What is it?", EYE, temperature=9)
        assert [said(answer.result()) for answer in answers] == [color for color, _ in good]
    for each in refused:
        assert (each.result().status, each.result().error["code"]) == (400, "image_parse_error")
        assert each.result().error["param"] == "messages[0].content[0].image_url.url"
    assert too_long.result().error["code"] == "context_length_exceeded"
    assert wrong.result().error["param"] == "temperature"
    free_soon(server, EYE)


# ---- streams --------------------------------------------------------------------------------------------------------


# The models are sure of their answers: so that there is something to tell apart, they go on behind them.
RAMBLING = {"temperature": 2, "repetition_penalty": 1.5, "ignore_eos": True, "max_tokens": 24}


@pytest.mark.parametrize("model", ALIASES)
def test_deltas_make_the_whole_text_with_the_same_seed(server, model):
    """One after the other, and both with the same cached prompt: in another batch a number may be rounded in another
    way, and once in ten thousand tokens a draw falls between the two.
    """
    texts = set()
    for number in range(10):
        asked = f"What is {3 * number} + {number}? Say it in words, then add {number}."
        wanted = {**RAMBLING, "seed": number, "stop": ["e"] if number % 2 else None}
        ask(server.url, asked, model, max_tokens=1)
        chunks = ask(server.url, asked, model, stream=True, **wanted).chunks
        deltas = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
        texts.add("".join(deltas))
        assert "".join(deltas) == said(ask(server.url, asked, model, **wanted))
    assert len(texts) > 5


# ---- the port -------------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-c", "from triptych.cli import main; main()", "serve", "--port", str(port)]
        variables = {**os.environ, "TRIPTYCH_DATA": str(tmp_path)}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stdout == ""
    [line] = [line for line in done.stderr.splitlines() if "port" in line]
    assert f"port {port} of 127.0.0.1 is taken; choose another with --port" in line
    assert "Traceback" not in done.stderr
