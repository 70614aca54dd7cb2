"""The Python API over an engine that answers by rule: what it adds to the engine."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from PIL import Image

import triptych.llm
from triptych import LLM, SamplingParams
from triptych.engine.errors import EngineStoppedError, ImageError, ParameterError, PromptError, TriptychError


@pytest.fixture
def llm(monkeypatch):
    monkeypatch.setattr(triptych.llm, "Engine", FakeEngine)
    with LLM() as model:
        yield model


def picture(width: int = 4, height: int = 3) -> Image.Image:
    return Image.new("RGB", (width, height))


def test_one_caption_is_a_string_and_many_are_a_list_in_order(llm, tmp_path):
    path = tmp_path / "a.png"
    picture(9, 9).save(path)
    assert llm.caption(picture()) == "Describe the picture. turn 1 4x3"
    images = [picture(1, 2), str(path), path, path.read_bytes()]
    assert llm.caption(images, "x") == [f"x turn 1 {size}" for size in ("1x2", "9x9", "9x9", "9x9")]
    assert llm.caption([]) == []


def test_errors_of_single_images_can_be_returned(llm, tmp_path):
    images = [picture(1, 1), tmp_path / "missing.png", b"nonsense", picture(2, 2)]
    with pytest.raises(ImageError, match=r"missing.png"):
        llm.caption(images)
    first, missing, nonsense, last = llm.caption(images, "x", errors="return")
    assert (first, last) == ("x turn 1 1x1", "x turn 1 2x2")
    assert isinstance(missing, ImageError)
    assert isinstance(nonsense, ImageError)
    with pytest.raises(ParameterError, match="errors must be"):
        llm.caption(images, errors="ignore")


def test_captions_are_lazy_bounded_and_complete(llm):
    taken = []

    def endless():
        for number in range(1, 10_000):
            taken.append(number)
            yield picture(number, 1)

    captions = llm.captions(endless(), "x", in_flight=4)
    results = [next(captions) for _ in range(10)]
    assert [result.text for result in results] == [f"x turn 1 {number}x1" for number in range(1, 11)]
    assert len(taken) <= 14
    assert results[0].usage.image_tokens == 2
    assert results[0].timing.total == 0.5
    assert results[0].model == "triptych/tiny-llava-1.6"
    captions.close()


def test_captions_left_early_are_aborted(llm):
    llm.engine.delay = 0.05
    captions = llm.captions((picture(number, 1) for number in range(1, 50)), "x", in_flight=6)
    next(captions)
    captions.close()
    deadline = time.monotonic() + 5
    while len(llm.engine.aborted) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(llm.engine.aborted) >= 5


def test_chat_gives_everything_about_the_answer(llm):
    answer = llm.chat("What is it?", picture(), max_tokens=3, n=2)
    assert answer.text == str(answer) == "What is it?"
    assert len(answer.choices) == 2
    assert answer.token_ids == (0, 1, 2)
    assert answer.finish_reason == "stop"
    assert answer.stop_reason is None
    assert answer.logprobs == ()
    assert answer.usage.completion_tokens == 6
    assert answer.timing.first_token == 0.2


def test_chat_goes_on_with_a_conversation(llm):
    messages = [
        {"role": "user", "content": [{"type": "image", "image": picture(5, 5)}, {"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "More"},
    ]
    assert llm.chat(messages).text == "More turn 3 5x5"


def test_generate_takes_raw_prompts_with_images(llm):
    assert llm.generate("raw").text == "raw"
    assert llm.generate("<image> raw", picture()).text == "<image> raw 4x3"
    both = llm.generate(["a", "b <image>"], [None, [picture(2, 2)]])
    assert [answer.text for answer in both] == ["a", "b <image> 2x2"]
    with pytest.raises(ParameterError, match="2 prompts but images for 1"):
        llm.generate(["a", "b"], [None])
    with pytest.raises(PromptError, match="exploded"):
        llm.generate(["a", "explode"])
    ok, failed = llm.generate(["a", "explode"], errors="return")
    assert (ok.text, str(failed)) == ("a", "it exploded")


def test_a_stream_is_text_pieces_and_the_whole_at_the_end(llm):
    stream = llm.stream("one two", params=SamplingParams(max_tokens=2))
    assert next(stream) == "one"
    assert list(stream) == [" two"]
    assert list(stream) == []
    assert stream.completion.text == "one two"
    assert llm.stream("one two").completion.text == "one two turn 1"
    with pytest.raises(PromptError, match="exploded"):
        list(llm.stream("explode"))
    with pytest.raises(ParameterError, match="n=2"):
        llm.stream("x", n=2)


@pytest.mark.parametrize("how", ["close", "with", "drop"])
def test_a_stream_left_early_is_aborted(llm, how):
    llm.engine.delay = 0.02
    stream = llm.stream("a b c d e f g h i j")
    next(stream)
    if how == "close":
        stream.close()
    elif how == "with":
        with stream:
            pass
    else:
        del stream
        gc.collect()
    assert llm.engine.aborted == ["llm-1"]


def test_a_finished_stream_is_not_aborted(llm):
    stream = llm.stream("a")
    list(stream)
    stream.close()
    del stream
    gc.collect()
    assert llm.engine.aborted == []


def test_mistakes_are_answered_before_anything_runs(llm):
    with pytest.raises(ParameterError, match="unknown sampling parameter 'temp'"):
        llm.chat("x", temp=1)
    with pytest.raises(ParameterError, match="unknown sampling parameter 'temp'"):
        llm.captions([], temp=1)
    with pytest.raises(ParameterError, match="in_flight must be at least 1"):
        llm.captions([], in_flight=0)
    with pytest.raises(ParameterError, match="unknown engine option 'kv'"):
        LLM(kv=1)
    with pytest.raises(ParameterError, match="precision must be one of"):
        LLM(precision="fp8")
    with pytest.raises(TriptychError, match="no model is called 'nothing'"):
        LLM("nothing")


def test_many_threads_may_share_a_model(llm):
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = llm.chat(f"question{number}").text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"question{number} turn 1" for number in range(20)}


def test_a_closed_model_says_so(monkeypatch):
    monkeypatch.setattr(triptych.llm, "Engine", FakeEngine)
    model = LLM()
    model.close()
    model.close()
    with pytest.raises(EngineStoppedError, match="closed"):
        model.chat("x")
    with pytest.raises(EngineStoppedError, match="closed"):
        model.caption(picture())


def test_a_dropped_model_stops_its_engine(monkeypatch):
    monkeypatch.setattr(triptych.llm, "Engine", FakeEngine)
    model = LLM()
    engine = model.engine
    del model
    gc.collect()
    assert engine.closed


def test_the_module_level_functions_keep_the_last_model(monkeypatch):
    from triptych import shared

    started = []

    def start(config, progress=None):
        started.append(FakeEngine(config, progress))
        return started[-1]

    monkeypatch.setattr(triptych.llm, "Engine", start)
    shared._loaded.cache_clear()
    try:
        assert triptych.caption(picture(), "x") == "x turn 1 4x3"
        assert triptych.chat("y").text == "y turn 1"
        assert "".join(triptych.stream("z")) == "z turn 1"
        assert len(started) == 1
        triptych.chat("y", model=Path(__file__).parent)
        gc.collect()
        assert [engine.closed for engine in started] == [True, False]
    finally:
        shared._loaded.cache_clear()


# ---- async -------------------------------------------------------------------------------------------------------


async def test_async_twins_give_the_same(llm):
    assert (await llm.achat("x", picture())).text == "x turn 1 4x3"
    assert (await llm.agenerate("raw")).text == "raw"
    assert await llm.acaption([picture(1, 1), picture(2, 2)], "x") == ["x turn 1 1x1", "x turn 1 2x2"]
    assert await llm.acaption(picture(), "x") == "x turn 1 4x3"
    failed, good = await llm.acaption([b"no", picture()], "x", errors="return")
    assert isinstance(failed, ImageError)
    assert good == "x turn 1 4x3"
    with pytest.raises(ImageError):
        await llm.acaption([b"no", picture()])
    with pytest.raises(PromptError, match="exploded"):
        await llm.achat("explode")


async def test_async_stream(llm):
    stream = await llm.astream("one two")
    assert [piece async for piece in stream] == ["one", " two", " turn", " 1"]
    assert (await stream.completion()).text == "one two turn 1"


async def test_a_cancelled_answer_is_aborted(llm):
    llm.engine.delay = 0.05
    task = asyncio.create_task(llm.achat("a b c d e f g h"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert llm.engine.aborted == ["llm-1"]


async def test_cancelled_captions_are_all_aborted(llm):
    llm.engine.delay = 0.05
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(llm.acaption([picture() for _ in range(5)], "a b c d"), 0.15)
    assert len(llm.engine.aborted) == 5


@pytest.mark.parametrize("how", ["aclose", "with", "drop"])
async def test_an_async_stream_left_early_is_aborted(llm, how):
    llm.engine.delay = 0.02
    stream = await llm.astream("a b c d e f g h")
    async for _ in stream:
        break
    if how == "aclose":
        await stream.aclose()
    elif how == "with":
        async with stream:
            pass
    else:
        del stream
        gc.collect()
    assert llm.engine.aborted == ["llm-1"]


async def test_the_event_loop_is_not_blocked_while_the_engine_works(llm):
    llm.engine.delay = 0.05
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.005)

    clock = asyncio.create_task(tick())
    await llm.achat("a b c d", picture())
    clock.cancel()
    assert ticks > 10
