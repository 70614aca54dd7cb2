"""`detail` of images: what callers write, what it costs, and that a model at low detail still sees what is large."""

import base64
from collections.abc import Iterator

import pytest
from http_calls import Reply, ask, call
from one_object import draw
from picture_files import encoded
from replicas import start_here
from response_calls import respond
from servers import Running, serving

from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.names import ALIASES
from triptych.server.served import ModelSpec, ServedModel

EYE, FIFTEEN = "triptych/tiny-llava-1.6", "triptych/tiny-llava-1.5"
OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20}
RED = f"data:image/png;base64,{base64.b64encode(encoded(draw('red', 'circle'))).decode()}"
FULL, LOW = 10, 4  # what the null replica counts for a picture


def image(detail: object = None, url: str = "a picture") -> dict:
    return {"type": "image_url", "image_url": {"url": url, "detail": detail}}


def tokens(reply: Reply) -> int:
    assert reply.status == 200, reply.body
    return reply.json["usage"]["prompt_tokens_details"]["image_tokens"]


@pytest.mark.parametrize(
    ("detail", "cost"),
    [("low", LOW), ("high", FULL), ("auto", FULL), ("original", FULL), ("LOW", FULL), ("", FULL), (None, FULL),
     (5, FULL), ({"low": 1}, FULL)],
)  # fmt: skip
def test_low_is_low_and_every_other_word_is_the_whole_picture(server, detail, cost):
    assert tokens(ask(server.url, [image(detail)])) == cost
    beside = {"type": "image_url", "image_url": "a picture", "detail": detail}
    assert tokens(ask(server.url, [beside])) == cost
    reply = respond(server.url, [{"role": "user", "content": [{**beside, "type": "input_image"}]}])
    assert reply.json["usage"]["input_tokens_details"]["image_tokens"] == cost


def test_each_image_has_its_own_also_the_same_one_twice(server):
    parts = [image("low"), {"type": "text", "text": "a b"}, image("high"), image("low", "another")]
    assert tokens(ask(server.url, parts)) == LOW + FULL + LOW
    assert tokens(ask(server.url, [image("low"), image()], stream=False, n=2)) == LOW + FULL


def test_a_detail_goes_with_its_image_when_older_turns_are_left_out(server):
    turns = []
    for number, detail in enumerate(("high", "low", "high", "low")):
        shown = {"type": "input_image", "image_url": f"picture {number}", "detail": detail}
        turns += [{"role": "user", "content": [shown, {"type": "input_text", "text": "word " * 3500 * (number == 1)}]},
                  {"role": "assistant", "content": "seen"}]  # fmt: skip
    reply = respond(server.url, turns, truncation="auto")
    assert reply.status == 200
    assert reply.json["usage"]["input_tokens_details"]["image_tokens"] in (FULL + LOW, FULL + LOW + FULL + LOW)


# ---- a real model ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seeing() -> Iterator[Running]:
    models = [ServedModel(ModelSpec(name, name, ALIASES[name], OPTIONS), start_here) for name in (EYE, FIFTEEN)]
    fetcher = ImageFetcher(Guard.allowing([]))
    with serving(models, fetcher.read, on_stop=fetcher.close) as running:
        yield running


def asked(seeing: Running, text: str, *details: str, model: str = EYE) -> tuple[str, dict]:
    parts = [*(image(detail, RED) for detail in details), {"type": "text", "text": text}]
    reply = ask(seeing.url, parts, model, temperature=0, max_tokens=20)
    assert reply.status == 200, reply.body
    return reply.json["choices"][0]["message"]["content"], reply.json["usage"]


def test_a_large_object_is_seen_at_low_detail_for_fewer_tokens(seeing):
    for text, truth in (("Describe the picture.", "a large red circle"), ("What color is the circle?", "red")):
        whole, low = asked(seeing, text, "high"), asked(seeing, text, "low")
        assert whole[0] == low[0] == truth
        # The patches of the base tile and a newline, instead of the grid's as well.
        assert low[1]["prompt_tokens_details"]["image_tokens"] == 101
        assert low[1]["prompt_tokens"] < whole[1]["prompt_tokens"] / 2
        assert asked(seeing, text, "auto")[1]["prompt_tokens"] == whole[1]["prompt_tokens"]


def test_the_two_views_are_two_pictures_to_every_cache(seeing):
    both = asked(seeing, "What color is the circle?", "low", "high")[1]["prompt_tokens_details"]["image_tokens"]
    apart = [asked(seeing, "What shape is it?", detail)[1]["prompt_tokens_details"] for detail in ("low", "high")]
    assert both == sum(each["image_tokens"] for each in apart)
    # Had the views one prefix, the first block of the one would be found for the other.
    again = [asked(seeing, "Is there a red circle?", detail) for detail in ("low", "high")]
    assert [answer for answer, _ in again] == ["yes", "yes"]


def test_responses_and_token_counts_see_it_too(seeing):
    parts = [{"type": "input_image", "image_url": RED, "detail": "low"},
             {"type": "input_text", "text": "What color is the circle?"}]  # fmt: skip
    question = [{"role": "user", "content": parts}]
    reply = respond(seeing.url, question, EYE, temperature=0)
    assert reply.json["output"][0]["content"][0]["text"] == "red"
    counted = respond(seeing.url, question, EYE, "/v1/responses/input_tokens").json["input_tokens"]
    assert counted == reply.json["usage"]["input_tokens"]
    messages = [{"role": "user", "content": [image("low", RED), {"type": "text", "text": "What color is the circle?"}]}]
    reply = call(seeing.url, "POST", "/v1/tokenize", {"model": EYE, "messages": messages})
    assert reply.json["count"] == counted


def test_llava_fifteen_sees_the_same_at_any_detail(seeing):
    whole, low = (asked(seeing, "What color is the circle?", detail, model=FIFTEEN) for detail in ("high", "low"))
    assert whole[0] == low[0] == "red"
    assert whole[1]["prompt_tokens"] == low[1]["prompt_tokens"]
