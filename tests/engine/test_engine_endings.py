"""How requests end before their time: aborted in any state, refused by a full queue, cut off when the engine closes.

Every engine's books are checked when `shelf.open` closes it.
"""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from engines import Gate, Shelf, ask, chat, check_books, finished, memory_for, results, tokens, truncated, wait_until
from picture_files import encoded, noise

from triptych.engine.config import EngineConfig
from triptych.engine.engine import Engine
from triptych.engine.errors import (
    EngineStoppedError,
    ImageError,
    ParameterError,
    QueueFullError,
)
from triptych.engine.handle import RequestHandle
from triptych.engine.imaging.images import open_image
from triptych.engine.request import Delta, Finished, Request, SamplingParams, Usage
from triptych.engine.runner import Runner
from triptych.engine.scheduling.scheduler import Scheduler

LONG = "the cat and the hat and the dog in the street and the red car on the road to the sea"


# ---- aborts


def aborted_after(engine: Engine, count: int, **params: Any) -> Finished:
    """The end of a request that is aborted from a callback as soon as it has `count` tokens."""
    ends: list[Finished] = []
    seen: list[Delta] = []

    def watch(event: Any) -> None:
        if isinstance(event, Finished):
            ends.append(event)
            return
        seen.append(event)
        if sum(len(delta.token_ids) for delta in seen) == count:
            engine.abort(event.request_id)

    ask(engine, LONG, max_tokens=100, ignore_eos=True, on_event=watch, **params)
    wait_until(lambda: bool(ends))
    assert seen[-1].finish_reason == "abort"
    return ends[0]


def test_abort_during_decoding_counts_what_was_computed(engine: Engine) -> None:
    end = aborted_after(engine, 3)
    assert end.error is None
    assert end.usage.completion_tokens == 3
    assert end.usage.prompt_tokens == len(chat(engine, LONG).token_ids)
    assert aborted_after(engine, 6, n=3, temperature=1.0).usage.completion_tokens >= 6
    assert engine.stats().counters.aborted == 2


def test_abort_before_the_start(seeing: Engine) -> None:
    with Gate(seeing):
        handles = [
            ask(seeing, chat(seeing, "what", noise(40, 50, seed=seed)), n=2, temperature=1.0) for seed in range(3)
        ]
        for handle in handles:
            handle.abort()
    for handle in handles:
        result = handle.result()
        assert [choice.finish_reason for choice in result.choices] == ["abort"] * 2
        assert result.usage == Usage(), "nothing was computed, so nothing counts"


def test_abort_during_prefill(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    with shelf.open("llava16", token_budget=8, max_rows=4) as engine:
        forward, calls = Runner.forward, []

        def aborting(self: Runner, plan: Any) -> Any:
            calls.append(plan)
            if len(calls) == 3:
                for row in plan.rows:
                    engine.abort(row.sequence.request.request_id)
            return forward(self, plan)

        monkeypatch.setattr(Runner, "forward", aborting)
        result = ask(engine, chat(engine, LONG, noise(300, 200)), n=2, temperature=1.0).result()
        assert len(calls) == 3
        assert [choice.finish_reason for choice in result.choices] == ["abort"] * 2
        assert result.usage.completion_tokens == 0
        # Two or three steps of eight tokens of a prompt of hundreds.
        assert result.usage.prompt_tokens in (16, 24)
        assert 0 < result.usage.image_tokens <= result.usage.prompt_tokens


def test_abort_after_the_end_and_of_nobody(engine: Engine) -> None:
    handle = ask(engine, "hello", max_tokens=2, ignore_eos=True)
    assert len(tokens(handle.result())) == 2
    handle.abort()
    engine.abort("nobody")
    assert len(tokens(ask(engine, "hello", max_tokens=2, ignore_eos=True).result())) == 2
    assert engine.stats().counters.aborted == 0


def test_abort_shows_the_text_that_was_held_back(engine: Engine) -> None:
    letter = engine.tokenizer.token_id("q")
    assert letter is not None
    pieces: list[str] = []
    ends: list[Finished] = []

    def watch(event: Any) -> None:
        if isinstance(event, Finished):
            ends.append(event)
            return
        pieces.append(event.text)
        if len(pieces) == 3:
            engine.abort(event.request_id)

    ask(engine, "hello", logit_bias={letter: 100.0}, stop=("qqqqqq",), on_event=watch)
    wait_until(lambda: bool(ends))
    assert pieces == ["", "", "", "qqq"]


def test_cancellation_storm(shelf: Shelf) -> None:
    """300 requests, most with pictures, some broken, aborted at random from several threads."""
    memory = memory_for(shelf["llava16"], 512)
    with shelf.open("llava16", kv_memory=memory, image_memory=20_000, max_rows=16) as engine:
        files = [encoded(noise(20 + 13 * seed, 30, seed=seed)) for seed in range(9)] + [truncated()]
        images = [open_image(content) for content in files]

        def storm(seed: int) -> list[RequestHandle]:
            chance, handles = random.Random(seed), []
            for number in range(75):
                shown = chance.choices(images, k=chance.choice((0, 1, 1, 2)))
                prompt = chat(engine, f"{number % 5} {LONG}", *shown)
                answer = chance.choice((1, 8, 40))
                handles.append(ask(engine, prompt, n=chance.choice((1, 1, 3)), temperature=1.0, max_tokens=answer))
                if chance.random() < 0.7:
                    chance.choice(handles).abort()
            for handle in chance.sample(handles, 40):
                handle.abort()
            return handles

        with ThreadPoolExecutor(4) as threads:
            handles = [handle for some in threads.map(storm, range(4)) for handle in some]
        ends = [finished(handle) for handle in handles]
        assert len(ends) == 300
        assert all(end.error is None or isinstance(end.error, ImageError) for end in ends)
        check_books(engine)
        counters = engine.stats().counters
        assert counters.finished == 300
        assert counters.aborted > 50
        assert engine.stats().image_bytes <= 20_000
        result = ask(engine, chat(engine, LONG, images[0]), max_tokens=4, ignore_eos=True).result()
        assert len(tokens(result)) == 4


# ---- queues and the end


def test_a_full_queue_refuses_and_recovers(shelf: Shelf) -> None:
    with shelf.open("llama", max_rows=1, max_waiting=2) as engine:
        with Gate(engine):
            handles = [ask(engine, "hello", max_tokens=1) for _ in range(2)]
            with pytest.raises(QueueFullError, match=r"3 requests.*try again later"):
                ask(engine, "hello")
        assert len(results(handles)) == 2
        assert tokens(ask(engine, "hello", max_tokens=1).result())


def test_a_request_id_in_use_is_refused(engine: Engine) -> None:
    def request(name: str) -> Request:
        return Request(name, chat(engine, "hello"), SamplingParams(max_tokens=2))

    with Gate(engine):
        first = engine.submit(request("same"))
        with pytest.raises(ParameterError, match="'same' is in use"):
            engine.submit(request("same"))
    first.result()
    engine.submit(request("same")).result()


def test_close_ends_what_is_under_way(shelf: Shelf) -> None:
    with shelf.open("llava15") as engine:
        gate = Gate(engine)
        running = [ask(engine, "hello", max_tokens=400, ignore_eos=True) for _ in range(3)]
        waiting = [ask(engine, chat(engine, "what", noise(60, 50, seed=seed))) for seed in range(3)]
        closing = threading.Thread(target=engine.close)
        closing.start()
        wait_until(lambda: engine._closed)
        gate.open()
        closing.join(20)
        for handle in (*running, *waiting):
            end = finished(handle)
            assert isinstance(end.error, EngineStoppedError)
            assert "closed" in str(end.error)
        with pytest.raises(EngineStoppedError):
            ask(engine, "hello")
        engine.abort("nobody")
        engine.close()


def test_a_loop_that_dies_tells_everybody(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    with shelf.open("llama") as engine:
        with Gate(engine):
            handles = [ask(engine, "hello", max_tokens=9) for _ in range(3)]

            def dying(self: Scheduler) -> None:
                raise RuntimeError("lost")

            monkeypatch.setattr(Scheduler, "schedule", dying)
        for handle in handles:
            assert "died of RuntimeError: lost" in str(finished(handle).error)
        wait_until(lambda: not engine._thread.is_alive())
        with pytest.raises(EngineStoppedError):
            ask(engine, "hello")


def test_closing_from_a_callback_does_not_hang(shelf: Shelf) -> None:
    with shelf.open("llama") as engine:
        ends: list[Any] = []

        def close(event: object) -> None:
            ends.append(event)
            engine.close()

        ask(engine, "hello", max_tokens=400, ignore_eos=True, on_event=close)
        wait_until(lambda: not engine._thread.is_alive())
        assert len(ends) == 2
        assert isinstance(ends[-1].error, EngineStoppedError)


def test_an_engine_that_cannot_start_says_why_and_leaves_no_thread(shelf: Shelf) -> None:
    before = threading.active_count()
    with pytest.raises(ParameterError, match="token_budget"):
        Engine(EngineConfig(shelf["llama"], threads=1, token_budget=4, max_rows=8))
    wait_until(lambda: threading.active_count() <= before)


def test_many_threads_may_submit(engine: Engine) -> None:
    def work(number: int) -> list[int]:
        return tokens(ask(engine, f"{number % 3} and", max_tokens=8, ignore_eos=True).result())

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(work, range(48)))
    assert all(answers[number] == answers[number % 3] for number in range(48))


def test_no_pixels_or_threads_are_left_behind(shelf: Shelf) -> None:
    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith(("engine", "pixels"))]

    with shelf.open("llava15") as engine:
        ask(engine, chat(engine, "what", noise(50, 40)), max_tokens=1).result()
    wait_until(lambda: not names())
