"""Requests of every sort at once, on an engine that is short of everything, answer as each does alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
from engines import Gate, Shelf, ask, chat, memory_for, results
from picture_files import noise

from triptych.engine.engine import Engine
from triptych.engine.handle import RequestHandle
from triptych.engine.request import Constraint

TEXTS = ("the cat", "one two three four five six seven eight", "what is it " * 6, "où est l'été")
CONSTRAINTS = (
    Constraint("regex", "[a-e]{4,30}"), Constraint("choice", ["yes", "no", "perhaps"]),
    Constraint("json_schema", {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 5}),
)  # fmt: skip


def drawn_params(chance: random.Random) -> dict[str, Any]:
    def sometimes(share: float, **params: Any) -> dict[str, Any]:
        return params if chance.random() < share else {}

    length = chance.choice((1, 20, 60, 90))
    return {
        "max_tokens": length, "seed": chance.randrange(1000), "n": chance.choice((1, 1, 1, 2, 3)),
        "temperature": chance.choice((0.0, 0.7, 1.0, 1.3)),
        **sometimes(0.3, top_p=0.9), **sometimes(0.2, top_k=20), **sometimes(0.2, min_p=0.02),
        **sometimes(0.2, repetition_penalty=1.2), **sometimes(0.2, frequency_penalty=0.4, presence_penalty=-0.2),
        **sometimes(0.3, stop=("e", "qu", "zz")), **sometimes(0.2, stop_token_ids=(70, 71, 72)),
        **sometimes(0.3, ignore_eos=True), **sometimes(0.2, min_tokens=min(4, length)),
        **sometimes(0.2, logit_bias={2: 3.0, 80: -5.0}), **sometimes(0.3, logprobs=chance.choice((0, 3))),
        **sometimes(0.2, prompt_logprobs=2), **sometimes(0.25, constraint=chance.choice(CONSTRAINTS)),
    }  # fmt: skip


def submit(engine: Engine, number: int) -> RequestHandle:
    """Request `number` of the crowd; the same on each engine."""
    chance = random.Random(number)
    count = chance.choice((0, 0, 1, 1, 2)) if engine.info.vision else 0
    pictures = [noise(chance.choice((20, 60, 90)), 40, seed=chance.randrange(4)) for _ in range(count)]
    prompt = chat(engine, chance.choice(TEXTS), *pictures)
    return ask(engine, prompt, priority=chance.choice((0, 0, 1)), **drawn_params(chance))


@pytest.mark.parametrize("kind", ["llava15", "llava16", "mixtral"])
def test_a_crowd_answers_as_each_alone(kind: str, shelf: Shelf) -> None:
    numbers = range(40)
    with shelf.open(kind, prefix_cache=False, image_memory=1) as engine:
        alone = [submit(engine, number).result() for number in numbers]
    short = {"kv_memory": memory_for(shelf[kind], 512), "image_memory": 3000, "token_budget": 48, "max_rows": 24}
    with shelf.open(kind, **short) as engine:
        with Gate(engine):
            handles = [submit(engine, number) for number in numbers]
        together = results(handles)
        stats = engine.stats().scheduler
        assert stats.preemptions > 0 or engine.info.vision  # pictures arrive as they are decoded
        assert stats.cached_tokens > 0
    for one, other in zip(alone, together, strict=True):
        for mine, theirs in zip(one.choices, other.choices, strict=True):
            assert mine.token_ids == theirs.token_ids
            assert (mine.text, mine.finish_reason, mine.stop_reason) == (
                theirs.text, theirs.finish_reason, theirs.stop_reason,
            )  # fmt: skip
            assert [score.logprob for score in mine.logprobs] == pytest.approx(
                [score.logprob for score in theirs.logprobs], abs=1e-4
            )
        assert one.usage.completion_tokens == other.usage.completion_tokens
        assert one.usage.completion_tokens == sum(len(choice.token_ids) for choice in one.choices)
        assert [score and score.token_id for score in one.prompt_logprobs or ()] == [
            score and score.token_id for score in other.prompt_logprobs or ()
        ]
