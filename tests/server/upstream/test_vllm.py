"""A real vLLM as the upstream. Runs where TRIPTYCH_TEST_VLLM_URL names one, such as http://localhost:8001/v1 (with
TRIPTYCH_TEST_VLLM_MODEL, if it serves several; its key in TRIPTYCH_TEST_VLLM_KEY), or where vllm can be imported and
TRIPTYCH_TEST_VLLM_CHECKPOINT names what it is to serve.
"""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from openai import OpenAI
from servers import serving

from triptych.server.model_settings import Upstream
from triptych.server.upstream.model import UpstreamModel

URL = os.environ.get("TRIPTYCH_TEST_VLLM_URL", "")
CHECKPOINT = os.environ.get("TRIPTYCH_TEST_VLLM_CHECKPOINT", "")
KEY = os.environ.get("TRIPTYCH_TEST_VLLM_KEY", "")
START_SECONDS = 600

pytestmark = [
    pytest.mark.skipif(
        not URL and not (CHECKPOINT and importlib.util.find_spec("vllm")),
        reason="no vLLM: set TRIPTYCH_TEST_VLLM_URL, or install vllm and set TRIPTYCH_TEST_VLLM_CHECKPOINT",
    ),
    pytest.mark.timeout(START_SECONDS + 300),
]


@pytest.fixture(scope="module")
def vllm() -> Iterator[str]:
    if URL:
        yield URL
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", CHECKPOINT, "--host", "127.0.0.1",
        "--port", str(port), "--max-model-len", "2048", "--enforce-eager", "--generation-config", "vllm",
    ]  # fmt: skip
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listed(url):
            assert process.poll() is None, "vLLM ended while it started"
            assert time.monotonic() < deadline, "vLLM did not start in time"
            time.sleep(1)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _listed(url: str) -> list[str]:
    headers = {"Authorization": f"Bearer {KEY}"} if KEY else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/models", headers=headers), timeout=5) as answer:
            return [model["id"] for model in json.load(answer)["data"]]
    except (OSError, urllib.error.URLError):
        return []


@pytest.fixture(scope="module")
def model(vllm) -> UpstreamModel:
    there = os.environ.get("TRIPTYCH_TEST_VLLM_MODEL") or _listed(vllm)[0]
    return UpstreamModel("far", Upstream(vllm, there, KEY))


@pytest.fixture(scope="module")
def clients(vllm, model) -> Iterator[tuple[OpenAI, OpenAI]]:
    """One that asks vLLM itself, and one that asks us."""
    with (
        serving([model]) as server,
        OpenAI(base_url=vllm, api_key=KEY or "any", max_retries=0) as itself,
        OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as ours,
    ):
        yield itself, ours


def completed(clients, model, **fields):
    fields = {"prompt": "One, two, three,", "temperature": 0, "max_tokens": 8, **fields}
    return [
        client.completions.create(model=name, **fields)
        for client, name in zip(clients, (model.model, "far"), strict=True)
    ]


def test_it_is_known_as_what_it_is(clients, model):
    assert clients[1].models.retrieve("far").max_model_len > 0
    assert model.kind == "vllm"


def test_completions_are_the_same(clients, model):
    itself, ours = completed(clients, model, logprobs=2)
    assert ours.choices[0].text == itself.choices[0].text
    assert ours.choices[0].finish_reason == itself.choices[0].finish_reason
    assert ours.usage.prompt_tokens == itself.usage.prompt_tokens
    assert ours.usage.completion_tokens == itself.usage.completion_tokens
    assert ours.choices[0].logprobs.token_logprobs == pytest.approx(itself.choices[0].logprobs.token_logprobs, abs=1e-3)


def test_a_stream_has_token_ids_and_usage(clients, model):
    stream = clients[1].completions.create(
        model="far", prompt="One, two,", temperature=0, max_tokens=6, stream=True,
        stream_options={"include_usage": True}, extra_body={"return_token_ids": True},
    )  # fmt: skip
    chunks = list(stream)
    ids = [token for chunk in chunks for choice in chunk.choices for token in choice.token_ids]
    assert len(ids) == chunks[-1].usage.completion_tokens


def test_constraints_and_extensions_are_kept(clients, model):
    _, ours = completed(clients, model, extra_body={"guided_choice": ["yes", "no"], "top_k": 5, "min_p": 0.01})
    assert ours.choices[0].text in ("yes", "no")
    _, ours = completed(clients, model, extra_body={"guided_regex": "[0-9]{3}"})
    assert ours.choices[0].text.isdigit()
    assert len(ours.choices[0].text) == 3


def test_a_prompt_is_scored_the_same(clients, model):
    itself, ours = completed(clients, model, echo=True, logprobs=1, max_tokens=1)
    assert ours.choices[0].text == itself.choices[0].text
    theirs = itself.choices[0].logprobs.token_logprobs
    assert ours.choices[0].logprobs.token_logprobs[1:] == pytest.approx(theirs[1:], abs=1e-3)


def test_an_overflow_is_told_as_ours(clients, model):
    reply = clients[1].completions.with_raw_response
    with pytest.raises(Exception, match="maximum context length") as caught:
        reply.create(model="far", prompt="word " * 200_000, max_tokens=1)
    assert caught.value.code == "context_length_exceeded"
