"""The Python API on a real engine and an embedded model. Whether answers are true is asked in test_examples.py."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path

import pytest
from PIL import Image

from triptych import LLM
from triptych.engine.errors import ContextOverflowError, PromptError

EXAMPLES = Path(__file__).parent.parent / "examples"
PICTURES = [EXAMPLES / name for name in ("two-shapes.png", "four-shapes.jpg", "large-number.png")]


@pytest.fixture(scope="module")
def llm():
    with LLM("triptych/tiny-llava-1.6", precision="fp32", device="cpu", kv_memory=64 << 20) as model:
        yield model


def settled(llm: LLM) -> bool:
    """Whether nothing is left of any request, given a moment."""
    deadline = time.monotonic() + 10
    while llm.engine.stats().unfinished and time.monotonic() < deadline:
        time.sleep(0.01)
    return llm.engine.stats().unfinished == 0


def test_a_picture_means_the_same_however_it_is_given(llm):
    path = PICTURES[0]
    data = path.read_bytes()
    uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    texts = llm.caption([path, str(path), data, uri, Image.open(path)], max_tokens=12)
    assert len(set(texts)) == 1


def test_an_image_part_at_low_detail_is_seen_coarsely(llm):
    answers = {}
    for detail in ("low", "auto"):
        parts = [{"type": "image", "detail": detail}, {"type": "text", "text": "How many objects are there?"}]
        answers[detail] = llm.chat([{"role": "user", "content": parts}], PICTURES[0], max_tokens=12)
    assert answers["low"].text == answers["auto"].text == "2"
    assert answers["low"].usage.image_tokens == 101 < answers["auto"].usage.image_tokens
    parts[0] |= {"image": PICTURES[0], "detail": "low"}
    with llm.stream([{"role": "user", "content": parts}], max_tokens=12) as stream:
        assert "".join(stream) == "2"
    assert stream.completion.usage.image_tokens == 101


def test_a_batch_gives_what_single_calls_give(llm):
    single = [llm.caption(picture, max_tokens=12) for picture in PICTURES]
    assert llm.caption(PICTURES, max_tokens=12) == single
    assert asyncio.run(llm.acaption(PICTURES, max_tokens=12)) == single


def test_a_stream_is_the_answer_in_pieces(llm):
    answer = llm.chat("How many objects are there?", PICTURES[1], max_tokens=12)
    stream = llm.stream("How many objects are there?", PICTURES[1], max_tokens=12)
    assert "".join(stream) == answer.text == stream.completion.text
    assert stream.completion.token_ids == answer.token_ids

    async def pieces() -> str:
        found = await llm.astream("How many objects are there?", PICTURES[1], max_tokens=12)
        return "".join([piece async for piece in found])

    assert asyncio.run(pieces()) == answer.text


def test_usage_is_exact_and_a_second_question_reuses_the_picture(llm):
    picture = Image.new("RGB", (300, 200), "white")
    first = llm.chat("What is this?", picture, max_tokens=3, ignore_eos=True)
    assert first.usage.completion_tokens == len(first.token_ids) == 3
    assert first.finish_reason == "length"
    assert 0 < first.usage.image_tokens < first.usage.prompt_tokens
    again = llm.chat("What is this?", picture, max_tokens=3, ignore_eos=True)
    assert again.usage.prompt_tokens == first.usage.prompt_tokens
    assert again.usage.cached_tokens >= first.usage.image_tokens
    assert again.token_ids == first.token_ids
    assert 0 <= again.timing.queued <= again.timing.first_token <= again.timing.total


def test_logprobs_have_an_entry_per_token(llm):
    answer = llm.chat("Hello", logprobs=2, prompt_logprobs=0, max_tokens=4, ignore_eos=True)
    assert [entry.token_id for entry in answer.logprobs] == list(answer.token_ids)
    assert all(len(entry.top) == 2 and entry.logprob <= 0 for entry in answer.logprobs)
    assert answer.prompt_logprobs is not None
    assert len(answer.prompt_logprobs) == answer.usage.prompt_tokens


def test_several_choices_and_seeds(llm):
    drawn = llm.chat("Hello", n=3, temperature=1.5, seed=7, max_tokens=6, ignore_eos=True)
    again = llm.chat("Hello", n=3, temperature=1.5, seed=7, max_tokens=6, ignore_eos=True)
    assert [choice.text for choice in drawn.choices] == [choice.text for choice in again.choices]
    assert drawn.usage.completion_tokens == 18


def test_constraints_hold(llm):
    assert llm.chat("Is it red?", PICTURES[0], choice=["yes", "no"]).text in ("yes", "no")
    assert llm.chat("How many?", PICTURES[0], regex="[0-9]{3}").text.isdigit()
    schema = {"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}, "required": ["color"],
              "additionalProperties": False}  # fmt: skip
    assert json.loads(llm.chat("Which?", PICTURES[0], json_schema=schema).text)["color"] in ("red", "blue")


def test_a_conversation_with_several_pictures_and_a_begun_answer(llm):
    messages = [
        {"role": "user", "content": [{"type": "image", "image": PICTURES[0]}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "two shapes"},
        {"role": "user", "content": [{"type": "image", "image": PICTURES[2]}, {"type": "text", "text": "And this?"}]},
        {"role": "assistant", "content": "the handwritten number "},
    ]
    answer = llm.chat(messages, max_tokens=4)
    alone = llm.chat("What is it?", PICTURES[0], max_tokens=1)
    assert answer.usage.image_tokens > alone.usage.image_tokens


def test_raw_prompts_and_stop_strings(llm):
    answer = llm.generate("red green blue", max_tokens=20, ignore_eos=True)
    assert answer.usage.completion_tokens == 20
    middle = answer.text[len(answer.text) // 2 :][:3]
    stopped = llm.generate("red green blue", max_tokens=20, ignore_eos=True, stop=middle)
    assert stopped.text == answer.text[: answer.text.index(middle)]
    assert (stopped.finish_reason, stopped.stop_reason) == ("stop", middle)
    with pytest.raises(PromptError, match="images"):
        llm.generate("<image> and <image>", PICTURES[0])


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(llm):
    with pytest.raises(ContextOverflowError, match=rf"\d+ tokens.* {llm.engine.info.max_context} tokens"):
        llm.chat("word " * 10_000)


def test_abandoned_answers_leave_nothing_behind(llm):
    for number in range(20):
        stream = llm.stream(f"Count from {number}", PICTURES[number % 3], max_tokens=500, ignore_eos=True)
        if number % 2:
            next(stream)
        stream.close()
    captions = llm.captions(iter(PICTURES * 20), max_tokens=100, ignore_eos=True)
    next(captions)
    captions.close()

    async def cancelled() -> None:
        async with asyncio.timeout(0.05):
            await llm.acaption(PICTURES, max_tokens=500, ignore_eos=True)

    with pytest.raises(TimeoutError):
        asyncio.run(cancelled())
    assert settled(llm)
    assert llm.chat("Hello", max_tokens=2, ignore_eos=True).usage.completion_tokens == 2


def test_many_at_once(llm):
    answers = llm.generate([f"number {number}" for number in range(50)], max_tokens=3, ignore_eos=True)
    assert [len(answer.token_ids) for answer in answers] == [3] * 50
