"""Which model answers to a name."""

import pytest

from triptych.server.generation import UnknownModelError
from triptych.server.names import ALIASES
from triptych.server.router import Router, embedded_specs
from triptych.server.served import ModelSpec, ServedModel


def router(*specs: tuple[str, ...]) -> Router:
    return Router([ServedModel(ModelSpec(name, "none", tuple(aliases))) for name, *aliases in specs])


def test_names_and_aliases_in_any_case():
    routes = router(("org/Eye", "llava", "LLaVA-Next"), ("text",))
    eye, text = routes.models
    for name in ("org/Eye", "org/eye", "ORG/EYE", "llava", "Llava", "llava-next", "LLaVA-Next"):
        assert routes.find(name) is eye
    assert routes.find("TEXT") is text


def test_the_exact_case_comes_first():
    routes = router(("Model",), ("model",))
    assert [routes.find(name) for name in ("Model", "model", "MODEL")] == [*routes.models, routes.models[0]]


@pytest.mark.parametrize("turned", [False, True])
def test_a_models_own_name_beats_an_alias_and_the_first_alias_counts(turned):
    specs = [("one", "two", "both"), ("two", "both")]
    routes = router(*(specs[::-1] if turned else specs))
    named = {model.name: model for model in routes.models}
    assert routes.find("two") is named["two"]
    assert routes.find("both") is routes.models[0]


def test_without_a_name_it_is_the_only_one_or_the_only_one_that_runs():
    only = router(("one",))
    assert only.find(None) is only.find("") is only.models[0]
    routes = router(("one",), ("two",))
    with pytest.raises(UnknownModelError, match=r"^Name a model\. Served: one, two\.$"):
        routes.find(None)
    routes.models[1].state = "ready"
    assert routes.find("") is routes.models[1]
    routes.models[0].state = "ready"
    with pytest.raises(UnknownModelError):
        routes.find("")


def test_an_unknown_name_is_told_with_a_near_one_and_what_is_served():
    routes = router(("org/eye", "llava-1.5-7b"), ("text",))
    with pytest.raises(UnknownModelError) as error:
        routes.find("llava-1.6-7b")
    assert str(error.value) == (
        "The model 'llava-1.6-7b' does not exist. Did you mean 'llava-1.5-7b'? Served: org/eye, text."
    )
    with pytest.raises(UnknownModelError, match="Did you mean 'org/eye'"):
        routes.find("ORG/EYES")
    with pytest.raises(UnknownModelError) as error:
        routes.find("zzz")
    assert "mean" not in str(error.value)


def test_a_very_long_name_is_not_repeated():
    with pytest.raises(UnknownModelError) as error:
        router(("one",)).find("x" * 1_000_000)
    assert len(str(error.value)) < 300


def test_the_packaged_models_answer_to_the_names_in_peoples_code():
    specs = embedded_specs()
    assert [spec.name for spec in specs] == list(ALIASES)
    assert all(spec.note and spec.model == spec.name for spec in specs)
    routes = Router([ServedModel(spec) for spec in specs])
    for name, aliases in ALIASES.items():
        for alias in (name, *aliases, *(alias.upper() for alias in aliases)):
            assert routes.find(alias).name == name
    assert routes.find("llava-hf/llava-1.5-7b-hf").name == "triptych/tiny-llava-1.5"
    assert routes.find("runware:150@2").name == "triptych/tiny-llava-1.6"
    assert routes.find("mistralai/Mixtral-8x7B-Instruct-v0.1").name == "triptych/tiny-mixtral"
