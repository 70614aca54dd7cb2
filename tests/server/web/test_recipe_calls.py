"""Calls as code: which names, what is left out, what cannot be said, and that nothing a caller writes becomes code."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest
from openai.resources.chat import Completions

from triptych.server.dialects.replicate.catalog import Catalog
from triptych.server.names import ALIASES
from triptych.server.router import Router
from triptych.server.served import ModelSpec, ServedModel
from triptych.server.web.recipes import DIALECTS, LANGUAGES, Call, Turn, UnwritableError, recipe, recipes_for
from triptych.server.web.recipes.names import replicate_name, runware_name
from triptych.server.web.recipes.openai import ARGUMENTS

BASE = "http://127.0.0.1:8000"
LOOK = Call.asking("eye", "What is this?", "picture.png", sees=True)
READ = Call.asking("text", "What is 17 + 25?")


def code(dialect: Any, language: Any, call: Call, base: str = BASE, key: bool = False) -> str:
    return recipe(dialect, language, call, base, key).code


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "replicate", "runware"),
    [
        ("triptych/tiny-llava-1.5", "yorickvp/llava-13b", "triptych/tiny-llava-1.5"),
        ("triptych/tiny-llava-1.6", "yorickvp/llava-v1.6-mistral-7b", "runware:150@2"),
        ("triptych/tiny-mixtral", "mistralai/mixtral-8x7b-instruct-v0.1", "triptych/tiny-mixtral"),
    ],
)
def test_each_dialect_gets_the_name_its_clients_know(model: str, replicate: str, runware: str) -> None:
    names = (model, *ALIASES[model])
    assert (replicate_name(names), runware_name(names)) == (replicate, runware)


@pytest.mark.parametrize("names", [("llava",), ("a b:c",), ("x", "y/z/w"), ("x", "o/n"), ("o/n", "p/q")])
def test_a_name_with_an_owner_is_one_that_replicates_side_knows(names: tuple[str, ...]) -> None:
    """Clients send nothing under a name without one."""
    model = ServedModel(ModelSpec(names[0], "null", names[1:], {}))
    name = replicate_name(names)
    assert name.count("/") == 1
    assert Catalog(Router([model])).find(name).backend is model


# ---- what is in them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sees", [True, False])
@pytest.mark.parametrize("key", [True, False])
def test_pages_have_recipes_of_every_kind(sees: bool, key: bool) -> None:
    made = recipes_for(["a/b", "c"], sees, BASE, key)
    assert len({each.id for each in made}) == len(made)
    kinds = {(each.dialect, each.language) for each in made}
    assert kinds == {(dialect, language) for dialect in DIALECTS[: 3 if sees else 2] for language in LANGUAGES}
    assert {each.dialect for each in recipes_for(["a/b"], sees, BASE, key, ("openai",))} == {"openai"}
    titles = " ".join(each.title.lower() for each in made if each.dialect == "replicate")
    assert all(task in titles for task in ("run", "stream", "webhook", "cancel", "list", *(["upload"] if sees else [])))
    for each in made:
        if each.language == "python":
            compile(each.code, each.id, "exec")
        if each.title in ("Ask about an image", "Run", "Stream", "Caption an image"):
            assert ("picture.png" in each.code) is sees
        # The key is in a variable, and only there.
        assert "YOUR_KEY" not in each.code
        assert ("YOUR_KEY" in each.needs) is key


def test_addresses() -> None:
    assert "curl -g 'http://[::1]:8000/v1/chat/completions'" in code("openai", "curl", READ, "http://[::1]:8000")
    for language in ("python", "javascript"):
        assert '"wss://host.example/v1"' in code("runware", language, LOOK, "https://host.example")


def test_what_the_python_client_does_not_know_goes_into_the_body() -> None:
    assert set(inspect.signature(Completions.create).parameters) >= ARGUMENTS
    call = Call.asking("m", "x", parameters={"top_k": 3, "temperature": 0.5, "seed": None, "model": "other"})
    [made] = [node for node in ast.walk(ast.parse(code("openai", "python", call))) if _is_create(node)]
    given = {each.arg: ast.literal_eval(each.value) for each in made.keywords}
    messages = [{"role": "user", "content": "x"}]
    assert given == {"model": "m", "messages": messages, "temperature": 0.5, "extra_body": {"top_k": 3}}


def _is_create(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "create"


def test_replicates_inputs() -> None:
    parameters = {"max_tokens": 9, "stop": "a,b", "logprobs": True, "temperature": 0.5}
    call = Call.asking("o/text", "x", system="be brief", parameters=parameters)
    written = recipe("replicate", "python", call, BASE, False)
    for part in ('"system_prompt": "be brief"', '"max_new_tokens": 9', '"stop_sequences": ["a,b"]'):
        assert part in written.code
    assert "no logprobs;" in written.note
    turns = (Turn("user", "What is this?", ("a.jpg",)), Turn("assistant", "red"), Turn("user", "And its shape?"))
    written = recipe("replicate", "python", Call("o/eye", turns, "be brief", parameters, sees=True), BASE, False)
    assert '"history": ["<image>\\nWhat is this?", "red"]' in written.code
    assert "no system prompt, stop, logprobs;" in written.note


@pytest.mark.parametrize(
    ("dialect", "call", "why"),
    [
        ("replicate", Call.asking("m", "x", "a.png", "b.png", sees=True), "one picture; this call has 2"),
        ("replicate", Call.asking("m", "x", "a.png"), "takes no pictures"),
        ("replicate", Call("m", (*READ.turns, Turn("assistant", "42"), *READ.turns)), "no place for what was said"),
        ("runware", READ, "this model takes none"),
        ("runware", Call.asking("m", "x", sees=True), "this call has none"),
        ("runware", Call("m", (*LOOK.turns, Turn("assistant", "42"), *LOOK.turns), sees=True), "no place for what was"),
    ],
)
def test_what_a_dialect_cannot_say_is_told(dialect: Any, call: Call, why: str) -> None:
    for language in LANGUAGES:
        with pytest.raises(UnwritableError, match=why):
            recipe(dialect, language, call, BASE, True)


def test_a_caption_has_no_stream_and_no_parameters_and_says_so() -> None:
    call = Call.asking("m", "x", "a.png", sees=True, stream=True, parameters={"seed": 1}, system="y")
    note = recipe("runware", "python", call, BASE, True).note
    assert "no system prompt, seed;" in note
    assert "not as a stream" in note


