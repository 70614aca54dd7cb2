"""Inputs of the models: what is wrong with values, and what is made of right ones."""

from __future__ import annotations

from typing import Any

import pytest
from http_calls import call
from predicting import Client, problem

from triptych.engine.request import SamplingParams
from triptych.server.dialects.replicate import llava, mixtral
from triptych.server.dialects.replicate.errors import ProblemError, RefusedError
from triptych.server.dialects.replicate.family import LLAVA, MIXTRAL
from triptych.server.generation import ChatPrompt, RawPrompt

IMAGE = {"type": "image"}


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


# ---- validation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "field", "told"),
    [
        ({}, "required", "input", "prompt is required"),
        ({"prompt": None}, "required", "input", "prompt is required"),
        ({"prompt": 5}, "invalid_type", "input.prompt", "Invalid type. Expected: string, given: integer"),
        ({"prompt": ["a"]}, "invalid_type", "input.prompt", "Invalid type. Expected: string, given: array"),
        ({"prompt": {}}, "invalid_type", "input.prompt", "Invalid type. Expected: string, given: object"),
        ({"prompt": "a", "top_p": 1.1}, "number_lte", "input.top_p", "Must be less than or equal to 1"),
        ({"prompt": "a", "top_p": -0.1}, "number_gte", "input.top_p", "Must be greater than or equal to 0"),
        ({"prompt": "a", "top_p": "1"}, "invalid_type", "input.top_p", "Invalid type. Expected: number, given: string"),
        ({"prompt": "a", "top_p": True}, "invalid_type", "input.top_p",
         "Invalid type. Expected: number, given: boolean"),
        ({"prompt": "a", "max_tokens": 1.5}, "invalid_type", "input.max_tokens",
         "Invalid type. Expected: integer, given: number"),
        ({"prompt": "a", "max_tokens": -1}, "number_gte", "input.max_tokens", "Must be greater than or equal to 0"),
        ({"prompt": "a", "max_tokens": 1 << 70}, "number_lte", "input.max_tokens", "Must be less than or equal to"),
        ({"prompt": "a", "history": "a"}, "invalid_type", "input.history",
         "Invalid type. Expected: array, given: string"),
        ({"prompt": "a", "history": ["a", 5]}, "invalid_type", "input.history.1",
         "Invalid type. Expected: string, given: integer"),
        ({"prompt": "a", "image": "photo.png"}, "format", "input.image", "Does not match format 'uri'"),
        ({"prompt": "a", "image": 5}, "invalid_type", "input.image", "Invalid type. Expected: string, given: integer"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_replicates_words(given: dict[str, Any], kind: str, field: str, told: str) -> None:
    with pytest.raises(ProblemError) as raised:
        LLAVA.values(given)
    body = raised.value.body()
    assert (body["status"], body["title"]) == (422, "Input validation failed")
    [found] = body["invalid_fields"]
    assert (found["type"], found["field"]) == (kind, field)
    assert found["description"].startswith(told)
    assert body["detail"] == f"- {field}: {found['description']}\n"


def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_queued(one: Client) -> None:
    before = one.ask("GET", "/predictions").json["results"]
    told = problem(one.ask("POST", "/models/org/eye/predictions", {"input": {"top_p": 2, "temperature": -1}}))
    assert told["status"] == 422
    assert [each["field"] for each in told["invalid_fields"]] == ["input", "input.top_p", "input.temperature"]
    assert len(told["detail"].splitlines()) == 3
    assert one.ask("GET", "/predictions").json["results"] == before


def test_numbers_of_the_other_kind_are_taken_where_they_are_whole() -> None:
    values = LLAVA.values({"prompt": "a", "max_tokens": 5.0, "temperature": 1, "history": None})
    assert values == {"prompt": "a", "max_tokens": 5, "temperature": 1, "top_p": 1, "history": None, "image": None}
    assert isinstance(values["max_tokens"], int)


def test_defaults_are_not_written_into_what_is_echoed(one: Client) -> None:
    assert one.run("a")["input"] == {"prompt": "a"}


# ---- LLaVA ----------------------------------------------------------------------------------------------------------


def conversation(prompt: str, history: list[str] | None = None, shown: bool = False) -> list[dict[str, Any]]:
    return llava.prompt_of({"prompt": prompt, "history": history}, shown).messages


@pytest.mark.parametrize(
    ("prompt", "history", "shown", "messages"),
    [
        ("a", None, False, [("user", "a")]),
        ("a", None, True, [("user", [IMAGE, text("a")])]),
        ("see <image>\nthis", None, True, [("user", [text("see "), IMAGE, text("this")])]),
        ("<image>", None, True, [("user", [IMAGE])]),
        ("c", ["a", "b"], False, [("user", "a"), ("assistant", "b"), ("user", "c")]),
        ("c", ["a", "b"], True, [("user", [IMAGE, text("a")]), ("assistant", "b"), ("user", "c")]),
        ("c <image>", ["a", "b"], True, [("user", "a"), ("assistant", "b"), ("user", [text("c "), IMAGE])]),
        ("b", ["a"], True, [("user", [IMAGE, text("a\nb")])]),
        ("b", ["<image>\na"], True, [("user", [IMAGE, text("a\nb")])]),
    ],
)
def test_the_conversation(prompt: str, history: list[str] | None, shown: bool, messages: list[Any]) -> None:
    assert [(each["role"], each["content"]) for each in conversation(prompt, history, shown)] == messages


@pytest.mark.parametrize(
    ("prompt", "history", "shown", "told"),
    [
        ("<image><image>", None, True, "only one image token is allowed"),
        ("<image>", ["<image>", "b"], True, "only one image token is allowed"),
        ("<image>", None, False, "no image was given"),
        ("c", ["a", "<image>"], True, "user's messages only"),
    ],
)
def test_more_places_than_images_cannot_be_run(prompt: str, history: list[str] | None, shown: bool, told: str) -> None:
    with pytest.raises(RefusedError, match=told):
        conversation(prompt, history, shown)


@pytest.mark.parametrize(
    ("given", "params"),
    [
        ({}, SamplingParams(max_tokens=1024, temperature=0.2, top_p=1.0)),
        ({"temperature": 0.001}, SamplingParams(max_tokens=1024, temperature=0.0)),
        ({"temperature": 1e9}, SamplingParams(max_tokens=1024, temperature=100.0)),
        ({"top_p": 0}, SamplingParams(max_tokens=1024, temperature=0.2, top_k=1)),
        ({"max_tokens": 7, "top_p": 0.5}, SamplingParams(max_tokens=7, temperature=0.2, top_p=0.5)),
    ],
)
def test_sampling_of_llava(given: dict[str, Any], params: SamplingParams) -> None:
    assert llava.params_of(LLAVA.values({"prompt": "a", **given})) == params


def test_what_cannot_be_run_is_a_prediction_that_failed(one: Client) -> None:
    for more, told in (({"prompt": "<image>"}, "no image was given"), ({"max_tokens": 0}, "nothing to generate")):
        reply = one.create(**{"prompt": "a", **more}, wait=5)
        found = reply.json
        assert (reply.status, found["status"], found["output"]) == (201, "failed", None)
        assert told in found["error"]
        assert told in found["logs"]
        assert found["metrics"]["predict_time"] == 0
        assert one.get(found) == found
        again = call(one.server.url, "POST", f"/triptych/v1/predictions/{found['id']}/retry", headers=one.key)
        assert (again.status, again.json["error"]["code"]) == (409, "cannot_run")
        assert told in again.json["error"]["message"]


# ---- Mixtral --------------------------------------------------------------------------------------------------------


def prompt_of(prompt: str = "hi", **more: Any) -> ChatPrompt | RawPrompt:
    return mixtral.prompt_of(MIXTRAL.values({"prompt": prompt, **more}))


def test_the_usual_template_is_the_checkpoints_own() -> None:
    chat = ChatPrompt([{"role": "user", "content": "hi"}])
    assert prompt_of() == prompt_of(prompt_template=mixtral.TEMPLATE) == chat
    assert prompt_of(system_prompt="Be kind.") == ChatPrompt([{"role": "user", "content": "Be kind.\n\nhi"}])


@pytest.mark.parametrize(
    ("template", "more", "raw", "add_bos"),
    [
        ("{prompt}", {}, "hi", True),
        ("<s>[INST] {prompt} [/INST]", {}, "<s>[INST] hi [/INST]", False),
        ("[INST] {prompt} [/INST]", {"system_prompt": "S"}, "[INST] S\n\nhi [/INST]", True),
        ("{system_prompt}|{prompt}|{{}}", {"system_prompt": "S"}, "S|hi|{}", True),
        ("{prompt}{prompt}", {}, "hihi", True),
        ("fixed", {"prompt": ""}, "fixed", True),
    ],
)
def test_a_template_of_the_callers_is_filled(template: str, more: dict[str, Any], raw: str, add_bos: bool) -> None:
    assert prompt_of(**{"prompt_template": template, **more}) == RawPrompt(raw, add_bos)


def test_braces_in_a_prompt_are_text() -> None:
    assert prompt_of("{system_prompt} {0} }{", prompt_template="{prompt}") == RawPrompt("{system_prompt} {0} }{", True)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"prompt_template": "no place"}, "E1003"), ({"prompt_template": "{prompt"}, "E1004"),
        ({"prompt_template": "{prompt} {other}"}, "E1004"), ({"prompt_template": "{prompt} {}"}, "E1004"),
        ({"prompt_template": "{prompt.__class__}"}, "E1004"), ({"prompt_template": "{prompt:>9999999}"}, "E1004"),
        ({"prompt_template": "{prompt!r}"}, "E1004"), ({"prompt_template": "{prompt[0]}"}, "E1004"),
        ({"prompt": ""}, "E1001"), ({"prompt": "", "prompt_template": " {prompt}"}, "E1001"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_filled(more: dict[str, Any], code: str) -> None:
    with pytest.raises(RefusedError, match=code):
        prompt_of(**more)


@pytest.mark.parametrize(
    ("given", "params"),
    [
        ({}, {}),
        ({"max_new_tokens": 9}, {"max_tokens": 9}),
        ({"max_tokens": 9}, {"max_tokens": 9}),
        ({"max_tokens": 512, "max_new_tokens": 9}, {"max_tokens": 9}),
        ({"max_tokens": 9, "max_new_tokens": 9}, {"max_tokens": 9}),
        ({"top_k": -1}, {"top_k": 0}),
        ({"top_k": 0}, {"top_k": 0}),
        ({"top_p": 0}, {"top_k": 1, "top_p": 1.0}),
        ({"min_new_tokens": -1}, {}),
        ({"min_tokens": 3}, {"min_tokens": 3}),
        ({"stop_sequences": "a,b,,a"}, {"stop": ("a", "b")}),
        ({"stop_sequences": ["a,b", ""]}, {"stop": ("a,b",)}),
        ({"seed": 7}, {"seed": 7}),
        ({"temperature": 0, "length_penalty": 2}, {"temperature": 0.0}),
        ({"frequency_penalty": 1}, {"frequency_penalty": 1.0}),
    ],
)
def test_sampling_of_mixtral(given: dict[str, Any], params: dict[str, Any]) -> None:
    usual = {"max_tokens": 512, "temperature": 0.6, "top_p": 0.9, "top_k": 50}
    sent = {"prompt": "a", **given}
    assert mixtral.params_of(MIXTRAL.values(sent), sent) == SamplingParams(**{**usual, **params})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"max_tokens": 8, "max_new_tokens": 9}, "E1102"), ({"min_tokens": 2, "min_new_tokens": 3}, "E1101"),
        ({"min_tokens": 20, "max_tokens": 3}, "min_tokens"),
    ],
)  # fmt: skip
def test_limits_that_contradict_each_other(given: dict[str, Any], told: str) -> None:
    sent = {"prompt": "a", **given}
    with pytest.raises(RefusedError, match=told):
        mixtral.params_of(MIXTRAL.values(sent), sent)


@pytest.mark.parametrize(("name", "value"), [
    ("temperature", -1), ("top_k", -2), ("max_new_tokens", 0), ("top_p", 2), ("length_penalty", 6),
    ("presence_penalty", 3), ("seed", 1.5),
])  # fmt: skip
def test_values_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ProblemError, match=f"input.{name}"):
        MIXTRAL.values({"prompt": "a", name: value})


# ---- schemas --------------------------------------------------------------------------------------------------------


def test_schemas_are_as_clients_read_them() -> None:
    for family in (LLAVA, MIXTRAL):
        schemas = family.openapi_schema()["components"]["schemas"]
        assert schemas["Output"] == {
            "type": "array", "title": "Output", "items": {"type": "string"},
            "x-cog-array-type": "iterator", "x-cog-array-display": "concatenate",
        }  # fmt: skip
        assert schemas["Input"]["required"] == ["prompt"]
        orders = [each["x-order"] for each in schemas["Input"]["properties"].values()]
        assert orders == list(range(len(orders)))
        assert all({"type", "title", "description"} <= set(each) for each in schemas["Input"]["properties"].values())


def test_the_inputs_are_the_public_ones_in_their_order() -> None:
    properties = LLAVA.openapi_schema()["components"]["schemas"]["Input"]["properties"]
    assert list(properties) == ["image", "prompt", "top_p", "temperature", "max_tokens", "history"]
    assert properties["image"]["format"] == "uri"
    assert {name: each.get("default") for name, each in properties.items()} == {
        "image": None, "prompt": None, "top_p": 1, "temperature": 0.2, "max_tokens": 1024, "history": None,
    }  # fmt: skip
    properties = MIXTRAL.openapi_schema()["components"]["schemas"]["Input"]["properties"]
    assert list(properties)[:8] == [
        "prompt", "max_new_tokens", "temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty",
        "prompt_template",
    ]  # fmt: skip
    assert properties["prompt_template"]["default"] == "<s>[INST] {prompt} [/INST] "
