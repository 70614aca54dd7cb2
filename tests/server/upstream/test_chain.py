"""A server whose model is at another Triptych server with the real embedded model: the same answers as from there."""

import base64
import time
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI
from picture_files import encoded
from PIL import Image, ImageDraw
from replicas import start_here
from servers import Running, serving

from triptych.server.app import Options
from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.model_settings import Upstream
from triptych.server.served import ModelSpec, ServedModel
from triptych.server.upstream.model import UpstreamModel

LLAVA = "triptych/tiny-llava-1.6"
OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20}
KEY = "sk-of-the-first-server"


@pytest.fixture(scope="module")
def direct() -> Iterator[Running]:
    fetcher = ImageFetcher(Guard.allowing([]))
    model = ServedModel(ModelSpec(LLAVA, LLAVA, options=OPTIONS), start_here)
    with serving([model], fetcher.read, Options(keys=(KEY,), drain=5), on_stop=fetcher.close) as server:
        yield server


@pytest.fixture(scope="module")
def clients(direct) -> Iterator[tuple[OpenAI, OpenAI]]:
    """One that asks the server with the model, and one that asks the server before it."""
    far = UpstreamModel("far", Upstream(f"{direct.url}/v1", LLAVA, KEY))
    fetcher = ImageFetcher(Guard.allowing([]))
    with (
        serving([far], fetcher.read, on_stop=fetcher.close) as before,
        OpenAI(base_url=f"{direct.url}/v1", api_key=KEY, max_retries=0) as near_client,
        OpenAI(base_url=f"{before.url}/v1", api_key="any", max_retries=0) as far_client,
    ):
        yield near_client, far_client


def drawn() -> str:
    """A large red circle to the left of a large blue square, as a data URI."""
    picture = Image.new("RGB", (400, 300), (244, 244, 240))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((40, 90, 160, 210), fill=(220, 30, 30))
    pen.rectangle((250, 90, 360, 200), fill=(30, 60, 220))
    return f"data:image/png;base64,{base64.b64encode(encoded(picture)).decode()}"


def question(text: str, image: bool = True) -> list[dict]:
    parts = [{"type": "text", "text": text}]
    if image:
        parts.append({"type": "image_url", "image_url": {"url": drawn()}})
    return [{"role": "user", "content": parts}]


def both(clients, **fields):
    """What the two servers answer, as plain data without what is each one's own."""
    near, far = clients
    answers = [
        near.chat.completions.create(model=LLAVA, temperature=0, max_tokens=30, **fields),
        far.chat.completions.create(model="far", temperature=0, max_tokens=30, **fields),
    ]
    return [plain(answer) for answer in answers]


def plain(answer):
    said = answer.model_dump()
    return {name: said[name] for name in said if name not in ("id", "created", "model", "system_fingerprint")}


def uncached(answer):
    """The prefix cache holds a prompt the second time; how much of it is no question of who asks."""
    answer["usage"]["prompt_tokens_details"].pop("cached_tokens")
    return answer


@pytest.mark.parametrize(
    ("text", "truth"),
    [("What color is the circle?", "red"), ("What shape is the blue object?", "square"),
     ("How many objects are there?", "2"), ("Is there a green star?", "no")],
)  # fmt: skip
def test_true_answers_with_the_same_usage_and_logprobs(clients, text, truth):
    near, far = both(clients, messages=question(text), logprobs=True, top_logprobs=3)
    assert far["choices"][0]["message"]["content"] == truth
    assert uncached(far) == uncached(near)
    assert far["usage"]["prompt_tokens_details"]["image_tokens"] > 100
    assert len(far["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 3


def test_a_stream_says_the_same(clients):
    fields = {
        "messages": question("Describe the picture."), "temperature": 0, "stream": True, "logprobs": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    texts, usages, entries = [], [], []
    for client, model in zip(clients, (LLAVA, "far"), strict=True):
        chunks = list(client.chat.completions.create(model=model, **fields))
        choices = [choice for chunk in chunks for choice in chunk.choices]
        texts.append([choice.delta.content or "" for choice in choices])
        entries.append([entry for choice in choices if choice.logprobs for entry in choice.logprobs.content])
        usages.append(chunks[-1].usage.model_dump())
    assert "".join(texts[1]) == "a large red circle to the left of a large blue square"
    assert len(texts[1]) > 5  # as it comes, not all at once
    assert "".join(texts[0]) == "".join(texts[1])
    assert entries[0] == entries[1]
    for usage in usages:
        usage["prompt_tokens_details"].pop("cached_tokens")
    assert usages[0] == usages[1]


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 3, "seed": 7, "extra_body": {"top_k": 5}}, {"stop": "r"}, {"max_tokens": 1},
        {"extra_body": {"guided_choice": ["green", "red"]}}, {"extra_body": {"guided_regex": "(r|g)[a-z]{2}"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["red", 1]}}}},
        {"extra_body": {"return_token_ids": True}}, {"logit_bias": {"5": 1}}, {"presence_penalty": 0.5},
        {"extra_body": {"prompt_logprobs": 1}},
    ],
)  # fmt: skip
def test_what_is_asked_beyond_a_question(clients, fields):
    fields = {"messages": question("What color is the circle?"), "temperature": 0.7, "seed": 3, **fields}
    answers = []
    for client, model in zip(clients, (LLAVA, "far"), strict=True):
        answers.append(plain(client.chat.completions.create(**{"model": model, "max_tokens": 12, **fields})))
    assert uncached(answers[0]) == uncached(answers[1])


def test_an_image_at_low_detail_is_one_there_too(clients):
    messages = question("What color is the circle?")
    whole = both(clients, messages=messages)[1]
    messages[0]["content"][1]["image_url"]["detail"] = "low"
    near, far = both(clients, messages=messages)
    assert far["choices"][0]["message"]["content"] == "red"
    assert uncached(far) == uncached(near)
    image_tokens = [each["usage"]["prompt_tokens_details"]["image_tokens"] for each in (far, whole)]
    assert image_tokens[0] == 101 < image_tokens[1]


def test_a_begun_answer_is_continued(clients):
    messages = [*question("Describe the picture."), {"role": "assistant", "content": "a large red circle to the"}]
    near, far = both(clients, messages=messages, extra_body={"continue_final_message": True})
    assert far["choices"][0]["message"]["content"].strip().startswith("left of")
    assert uncached(far) == uncached(near)


def test_a_prompt_is_scored_the_same(clients):
    answers = [
        client.completions.create(
            model=model, prompt="the circle is red", echo=True, logprobs=2, max_tokens=1, temperature=0
        ).choices[0]
        for client, model in zip(clients, (LLAVA, "far"), strict=True)
    ]
    assert answers[0].text == answers[1].text
    near, far = (answer.logprobs for answer in answers)
    assert near.tokens == far.tokens
    assert near.text_offset == far.text_offset
    assert near.token_logprobs == far.token_logprobs


def test_errors_come_back_as_they_were(clients):
    messages = [{"role": "user", "content": "word " * 20_000}]
    told = []
    for client, model in zip(clients, (LLAVA, "far"), strict=True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=model, messages=messages)
        told.append((caught.value.code, caught.value.param, caught.value.body["message"]))
    assert told[0] == told[1]
    assert told[1][0] == "context_length_exceeded"
    broken = question("What color?")
    broken[0]["content"][1]["image_url"]["url"] = "data:image/png;base64," + base64.b64encode(b"\x89PNG none").decode()
    told = []
    for client, model in zip(clients, (LLAVA, "far"), strict=True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=model, messages=broken)
        told.append((caught.value.code, caught.value.param))
    assert told[0] == told[1]


def test_what_the_first_server_tells_is_passed_on_once_its_model_runs(direct, clients):
    both(clients, messages=question("What color is the circle?"))
    assert direct.router.under_way == 0
    known = clients[0].models.retrieve(LLAVA)
    deadline = time.monotonic() + 20
    while not hasattr(far := clients[1].models.retrieve("far"), "max_model_len"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (far.root, far.max_model_len, far.quantization) == (LLAVA, known.max_model_len, known.quantization)
