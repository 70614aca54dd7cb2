"""What goes wrong in one request, or in one step, ends that and nothing else; the books balance afterwards.

Every engine's books are checked when `shelf.open` closes it.
"""

from __future__ import annotations

from typing import Any

import pytest
from engines import Gate, Shelf, ask, chat, check_books, finished, results, tokens, truncated, wait_until
from picture_files import noise

from triptych.engine.engine import Engine
from triptych.engine.errors import (
    ConstraintError,
    ImageError,
    ModelOutputError,
)
from triptych.engine.imaging.pixels import PixelStore
from triptych.engine.ops.linear import Linear
from triptych.engine.request import Constraint, Finished, Prompt
from triptych.engine.runner import Runner
from triptych.engine.sampling.grammar import Matcher

LONG = "the cat and the hat and the dog in the street and the red car on the road to the sea"


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
