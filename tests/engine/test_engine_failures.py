"""What goes wrong in one request, or in one step, ends that and nothing else; the books balance afterwards.

Every engine's books are checked when `shelf.open` closes it.
"""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from engines import Gate, Shelf, ask, chat, check_books, memory_for, results, tokens, wait_until
from picture_files import encoded, noise

from triptych.engine.config import EngineConfig
from triptych.engine.engine import Engine
from triptych.engine.errors import (
    ConstraintError,
    EngineStoppedError,
    ImageError,
    ModelOutputError,
    ParameterError,
    QueueFullError,
)
from triptych.engine.grammar import Matcher
from triptych.engine.handle import RequestHandle
from triptych.engine.images import open_image
from triptych.engine.ops.linear import Linear
from triptych.engine.pixels import PixelStore
from triptych.engine.request import Constraint, Delta, Finished, Prompt, Request, SamplingParams
from triptych.engine.runner import Runner
from triptych.engine.scheduler import Scheduler

LONG = "the cat and the hat and the dog in the street and the red car on the road to the sea"


@pytest.fixture
def engine(shelf: Shelf):
    with shelf.open("llama") as engine:
        yield engine


@pytest.fixture
def seeing(shelf: Shelf):
    with shelf.open("llava16") as engine:
        yield engine


def truncated(seed: int = 0) -> bytes:
    """A JPEG whose header is sound and whose pixels end early."""
    content = encoded(noise(200, 150, seed=seed), "JPEG")
    return content[: len(content) // 2]


def finished(handle: RequestHandle) -> Finished:
    *_, last = handle
    assert isinstance(last, Finished)
    return last


# ---- pictures


def test_a_truncated_picture_ends_only_its_own_requests(seeing: Engine) -> None:
    """Alone, beside a sound one, and the same broken file in two requests at once."""
    with Gate(seeing):
        broken = [ask(seeing, chat(seeing, "what", truncated()), max_tokens=3) for _ in range(2)]
        broken.append(ask(seeing, chat(seeing, "what", noise(50, 60), truncated(1)), max_tokens=3))
        sound = [ask(seeing, chat(seeing, "what", noise(50, 60 + i)), max_tokens=3, ignore_eos=True) for i in range(3)]
        sound.append(ask(seeing, "what", max_tokens=3, ignore_eos=True))
    for handle in broken:
        with pytest.raises(ImageError, match="truncated"):
            handle.result()
    assert [len(tokens(result)) for result in results(sound)] == [3] * 4
    assert seeing.stats().counters.failed == 3
    with pytest.raises(ImageError, match="truncated"):
        ask(seeing, chat(seeing, "what", truncated())).result()


def test_a_picture_that_breaks_when_it_is_needed(seeing: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its features were there at submission and are gone at the step, and then it cannot be decoded again."""
    bad, good = (chat(seeing, "what", noise(50, 60, seed=seed)) for seed in range(2))
    take = PixelStore.take

    def failing(self: PixelStore, span: Any) -> Any:
        pixels = take(self, span)
        if span.digest == bad.spans[0].digest:
            raise ImageError("the file has gone")
        return pixels

    monkeypatch.setattr(PixelStore, "take", failing)
    with Gate(seeing):
        handles = [ask(seeing, prompt, max_tokens=3, ignore_eos=True) for prompt in (bad, good, bad)]
    assert len(tokens(handles[1].result())) == 3
    for handle in (handles[0], handles[2]):
        with pytest.raises(ImageError, match="has gone"):
            handle.result()


@pytest.mark.parametrize("broken", [False, True], ids=["sound", "broken"])
def test_decoding_goes_on_when_all_who_held_pixels_have_ended(broken: bool, shelf: Shelf) -> None:
    """The first request fills the room for pixels, and ends in the step that empties it."""
    with shelf.open("llava15") as engine:
        pictures: list[Any] = [noise(30, 30, seed=seed) for seed in range(63)]
        pictures.append(truncated() if broken else noise(40, 30))
        with Gate(engine):
            first = ask(engine, chat(engine, "what", *pictures), max_tokens=1)
            others = [ask(engine, chat(engine, "what", noise(50, 30 + i)), max_tokens=1) for i in range(3)]
        assert isinstance(finished(first).error, ImageError) == broken
        assert [len(tokens(result)) for result in results(others)] == [1] * 3


def test_a_picture_for_a_text_model(engine: Engine, seeing: Engine) -> None:
    span = chat(seeing, "what", noise(50, 60)).spans[0]
    with pytest.raises(ImageError, match="text model"):
        ask(engine, Prompt((5,) * 100, (span,))).result()
    assert tokens(ask(engine, "hello", max_tokens=1).result())


# ---- steps


def test_a_step_that_fails_ends_its_requests_and_not_the_engine(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = Runner.forward, []

    def failing(self: Runner, plan: Any) -> Any:
        calls.append(len(plan.rows))
        if len(calls) == 4:
            raise RuntimeError("boom")
        return forward(self, plan)

    monkeypatch.setattr(Runner, "forward", failing)
    with Gate(engine):
        handles = [ask(engine, f"{number} {LONG}", max_tokens=9, ignore_eos=True) for number in range(3)]
    for handle in handles:
        with pytest.raises(RuntimeError, match="boom"):
            handle.result()
    assert calls[3] == 3
    check_books(engine)
    assert len(tokens(ask(engine, f"0 {LONG}", max_tokens=9, ignore_eos=True).result())) == 9


@pytest.mark.parametrize("fails", [False, True], ids=["packs", "cannot pack"])
def test_matrices_are_packed_between_steps(fails: bool, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that starts on its weights as they are stored answers the same before, during and after."""
    params = {"max_tokens": 40, "ignore_eos": True}
    with shelf.open("llama") as engine:
        expected = tokens(ask(engine, LONG, **params).result())
    pack, calls = Linear.pack, []

    def watched(self: Linear) -> bool:
        calls.append(self)
        if fails and len(calls) == 3:
            raise MemoryError
        return pack(self)

    monkeypatch.setattr(Linear, "pack", watched)
    monkeypatch.setattr("triptych.engine.engine.PACK_AT_ONCE", 0)
    monkeypatch.setattr("triptych.engine.loop.PACKING_SLICE", 1e-5)
    with shelf.open("llama") as engine:
        assert tokens(ask(engine, LONG, **params).result()) == expected
        wait_until(lambda: not engine._loop.runner.model.unpacked)
        assert len(calls) == 3 if fails else len(calls) > 3
        assert tokens(ask(engine, LONG, **params).result()) == expected


def test_a_failed_prefill_leaves_nothing_that_others_could_find(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tokens(ask(engine, LONG, max_tokens=9, ignore_eos=True).result())
    forward, calls = Runner.forward, []

    def failing(self: Runner, plan: Any) -> Any:
        calls.append(plan)
        if len(calls) == 1:
            forward(self, plan)
            raise RuntimeError("boom")
        return forward(self, plan)

    other = "one two three four five six seven eight nine ten"
    monkeypatch.setattr(Runner, "forward", failing)
    with pytest.raises(RuntimeError, match="boom"):
        ask(engine, other, n=3, temperature=1.0).result()
    result = ask(engine, other, max_tokens=9, ignore_eos=True).result()
    assert result.usage.cached_tokens == 0
    assert tokens(ask(engine, LONG, max_tokens=9, ignore_eos=True).result()) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "params", [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_p": 0.9, "top_k": 5, "min_p": 0.1}, {"logprobs": 2}],
    ids=["greedy", "random", "filtered", "logprobs"],
)  # fmt: skip
def test_logits_that_are_not_finite_end_their_request(
    value: float, params: dict[str, Any], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sick: set[str] = set()
    forward = Runner.forward

    def poisoned(self: Runner, plan: Any) -> Any:
        result = forward(self, plan)
        for number, row in enumerate(result.sampled):
            if row.sequence.request.request_id in sick and row.sequence.generated_length == 2:
                result.logits[number] = value
        return result

    monkeypatch.setattr(Runner, "forward", poisoned)
    with Gate(engine):
        bad = ask(engine, "one", max_tokens=9, ignore_eos=True, **params)
        good = ask(engine, "two", max_tokens=9, ignore_eos=True, **params)
        sick.add(bad.request.request_id)
    end = finished(bad)
    assert isinstance(end.error, ModelOutputError)
    assert "NaN" in str(end.error)
    assert end.usage.completion_tokens == 2
    assert len(tokens(good.result())) == 9


def test_a_callback_that_fails_ends_its_own_request(engine: Engine) -> None:
    ends: list[Finished] = []

    def fail(event: object) -> None:
        if isinstance(event, Finished):
            ends.append(event)
        raise RuntimeError("no")

    with Gate(engine):
        ask(engine, "one", max_tokens=400, ignore_eos=True, on_event=fail)
        good = ask(engine, "two", max_tokens=9, ignore_eos=True)
    assert len(tokens(good.result())) == 9
    wait_until(lambda: len(ends) == 1)
    assert ends[0].usage.completion_tokens == 1


# ---- constraints


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint("regex", r"[^\s\S]"), Constraint("regex", "("), Constraint("choice", []),
        Constraint("json_schema", {"enum": []}), Constraint("json_schema", "{"),
        Constraint("json_schema", {"type": "integer", "minimum": 5, "maximum": 3}),
    ],
    ids=lambda constraint: f"{constraint.kind} {constraint.value}",
)  # fmt: skip
def test_an_impossible_constraint_is_refused_at_once(constraint: Constraint, engine: Engine) -> None:
    with pytest.raises(ConstraintError):
        ask(engine, "hello", constraint=constraint)
    assert engine.stats().unfinished == 0
    assert tokens(ask(engine, "hello", max_tokens=1).result())


@pytest.mark.parametrize("method", ["mask", "accept"])
def test_a_dead_end_in_a_grammar_ends_its_request(
    method: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, calls = getattr(Matcher, method), []

    def failing(self: Matcher, *args: Any) -> Any:
        calls.append(args)
        if len(calls) == 6:
            raise ConstraintError("no token of this model's vocabulary can continue the constrained text")
        return work(self, *args)

    monkeypatch.setattr(Matcher, method, failing)
    with Gate(engine):
        good = ask(engine, "hello", max_tokens=20, ignore_eos=True)
        bad = ask(engine, "hello", n=2, temperature=1.0, max_tokens=20, constraint=Constraint("regex", "[a-z]{30}"))
    with pytest.raises(ConstraintError, match="can continue"):
        bad.result()
    assert len(tokens(good.result())) == 20


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
        assert (result.usage.completion_tokens, result.usage.cached_tokens) == (0, 0)
        assert result.usage.image_tokens > 0


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
