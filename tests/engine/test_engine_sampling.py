"""Seeds and constrained output through the whole engine: the text does not depend on what happens around it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from engines import Gate, Shelf, ask, chat, memory_for, results, tokens
from picture_files import noise

from triptych.engine.engine import Engine
from triptych.engine.handle import Result
from triptych.engine.request import Constraint

RANDOM: dict[str, Any] = {"temperature": 0.9, "top_p": 0.95, "max_tokens": 40, "ignore_eos": True}
QUESTION = "what do you see in the street and on the road and at the sea"
NAME = {"type": "string", "maxLength": 12}
SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green", "blue"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "sure": {"type": "boolean"},
        "names": {"type": "array", "items": NAME, "minItems": 1, "maxItems": 2},
        "box": {"type": "object", "properties": {"name": NAME}, "required": ["name"], "additionalProperties": False},
    },
    "required": ["colour", "count", "sure", "names", "box"],
    "additionalProperties": False,
}


@pytest.fixture(params=["llama", "mixtral"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def drawn(engine: Engine, **params: Any) -> list[list[int]]:
    """The tokens of all choices."""
    result = ask(engine, QUESTION, **{**RANDOM, **params}).result()
    return [choice.token_ids for choice in result.choices]


def test_the_same_seed_gives_the_same_text_and_another_one_another(engine: Engine) -> None:
    assert drawn(engine, seed=1) == drawn(engine, seed=1)
    assert drawn(engine, seed=1) != drawn(engine, seed=2)
    assert drawn(engine) != drawn(engine)


def test_a_seeded_choice_does_not_depend_on_n(engine: Engine) -> None:
    five = drawn(engine, seed=7, n=5)
    assert five[:2] == drawn(engine, seed=7, n=2)
    assert five[:1] == drawn(engine, seed=7)
    assert len({tuple(choice) for choice in five}) == 5


def test_a_seeded_text_does_not_depend_on_the_batch(kind: str, shelf: Shelf) -> None:
    with shelf.open(kind) as engine:
        alone = drawn(engine, seed=7, n=2)
    with shelf.open(kind, token_budget=24, max_rows=16) as engine:
        with Gate(engine):
            others = [ask(engine, f"{number} and", **RANDOM, n=2) for number in range(4)]
            handle = ask(engine, QUESTION, **RANDOM, seed=7, n=2)
            others += [ask(engine, f"{number} or", max_tokens=30) for number in range(3)]
        assert [choice.token_ids for choice in handle.result().choices] == alone
        results(others)


def test_a_seeded_text_does_not_depend_on_preemption(kind: str, shelf: Shelf) -> None:
    params = {**RANDOM, "max_tokens": 100, "n": 2}
    with shelf.open(kind) as engine:
        prompts = [chat(engine, f"{number} {QUESTION}") for number in range(6)]
        alone = [ask(engine, prompt, seed=5, **params).result() for prompt in prompts]
        assert engine.stats().scheduler.preemptions == 0
    with shelf.open(kind, kv_memory=memory_for(shelf[kind], 512)) as engine:
        with Gate(engine):
            handles = [ask(engine, prompt, seed=5, **params) for prompt in prompts]
        for one, other in zip(alone, results(handles), strict=True):
            assert [c.token_ids for c in one.choices] == [c.token_ids for c in other.choices]
            assert [c.text for c in one.choices] == [c.text for c in other.choices]
        assert engine.stats().scheduler.preemptions > 0


def test_penalties_survive_preemption(shelf: Shelf) -> None:
    params = {"max_tokens": 100, "ignore_eos": True, "repetition_penalty": 1.3, "frequency_penalty": 0.5}
    with shelf.open("llama") as engine:
        prompts = [chat(engine, f"{number} {QUESTION}") for number in range(6)]
        alone = [tokens(ask(engine, prompt, **params).result()) for prompt in prompts]
    with shelf.open("llama", kv_memory=memory_for(shelf["llama"], 512)) as engine:
        with Gate(engine):
            handles = [ask(engine, prompt, **params) for prompt in prompts]
        assert [tokens(result) for result in results(handles)] == alone
        assert engine.stats().scheduler.preemptions > 0


# ---- constraints


def constrained(engine: Engine, constraint: Constraint, count: int, *pictures: Any) -> list[Result]:
    """What a random model says under the constraint, `count` times at temperature 1."""
    prompt = chat(engine, QUESTION, *pictures)
    with Gate(engine):
        free = ask(engine, "hello", max_tokens=20, ignore_eos=True)
        handles = [
            ask(engine, prompt, constraint=constraint, temperature=1.0, seed=seed, max_tokens=300)
            for seed in range(count)
        ]
    assert len(tokens(free.result())) == 20
    return results(handles)


def test_a_random_model_keeps_to_a_schema(engine: Engine) -> None:
    values = []
    for result in constrained(engine, Constraint("json_schema", SCHEMA), 12):
        assert result.choices[0].finish_reason == "stop"
        value = json.loads(result.choices[0].text)
        assert list(value) == list(SCHEMA["properties"])  # type: ignore[arg-type]
        assert value["colour"] in ("red", "green", "blue")
        assert isinstance(value["sure"], bool)
        assert 0 <= value["count"] <= 99
        assert 1 <= len(value["names"]) <= 2
        assert all(len(name) <= 12 for name in (*value["names"], value["box"]["name"]))
        values.append(value)
    assert len({json.dumps(value) for value in values}) > 6


@pytest.mark.parametrize("pattern", [r"[a-c]{3}-\d{2}", r"(yes|no), (red|blue)\.", r"é{2,4}[^a-z]", r"x?"])
def test_a_random_model_keeps_to_a_pattern(pattern: str, engine: Engine) -> None:
    for result in constrained(engine, Constraint("regex", pattern), 8):
        assert result.choices[0].finish_reason == "stop"
        assert re.fullmatch(pattern, result.choices[0].text)


def test_a_random_model_keeps_to_a_choice_about_a_picture(shelf: Shelf) -> None:
    choices = ["yes", "no", "no idea", "où?"]
    with shelf.open("llava15") as engine:
        found = constrained(engine, Constraint("choice", choices), 20, noise(40, 30))
        texts = [result.choices[0].text for result in found]
        assert set(texts) <= set(choices)
        assert len(set(texts)) > 1


def test_every_choice_of_a_request_keeps_to_its_own_place_in_the_grammar(engine: Engine) -> None:
    result = ask(engine, QUESTION, n=6, temperature=1.5, constraint=Constraint("regex", "[a-z]{2,9}!")).result()
    assert all(re.fullmatch("[a-z]{2,9}!", choice.text) for choice in result.choices)
    assert len({choice.text for choice in result.choices}) > 3


def test_a_constraint_survives_preemption(shelf: Shelf) -> None:
    constraint = Constraint("regex", "[a-z]{60}")
    with shelf.open("llama", kv_memory=memory_for(shelf["llama"], 512)) as engine:
        prompts = [chat(engine, f"{number} {QUESTION}") for number in range(9)]
        with Gate(engine):
            handles = [
                ask(engine, prompt, constraint=constraint, temperature=1.0, n=2, max_tokens=90) for prompt in prompts
            ]
        for result in results(handles):
            assert all(re.fullmatch("[a-z]{60}", choice.text) for choice in result.choices)
        assert engine.stats().scheduler.preemptions > 0


def test_a_text_cut_by_its_length_says_so(engine: Engine) -> None:
    result = ask(engine, QUESTION, constraint=Constraint("json_schema", SCHEMA), max_tokens=5).result()
    assert result.choices[0].finish_reason == "length"
    assert result.usage.completion_tokens == 5
