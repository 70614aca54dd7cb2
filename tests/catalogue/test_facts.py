"""Every fact of the source pages is found through the API, with the page it is from."""

from __future__ import annotations

from typing import Any

import pytest
import source_facts as facts
from http_calls import call
from servers import Running, null_models, serving


@pytest.fixture(scope="module")
def server():
    with serving(null_models()) as running:
        yield running


@pytest.fixture(scope="module")
def model(server: Running):
    """The API's answer about a model by any of its names."""
    kept: dict[str, Any] = {}

    def ask(name: str) -> Any:
        if name not in kept:
            reply = call(server.url, "GET", f"/catalogue/models/{name.replace(' ', '%20')}")
            assert reply.status == 200, reply.body
            kept[name] = reply.json
        return kept[name]

    return ask


def is_page(source: dict[str, Any], page: facts.Page) -> bool:
    day = page.date.isoformat() if page.date else None
    return (source["publisher"], source["title"], source["date"]) == (page.publisher, page.title, day)


def ids(answer: dict[str, Any], page: facts.Page) -> set[str]:
    return {source["id"] for source in answer["sources"] if is_page(source, page)}


def says(claim: dict[str, Any], value: object) -> bool:
    if value == facts.NOT_SOURCED:
        return claim["state"] == "not sourced" and claim["value"] is None
    if isinstance(value, int):
        return claim["value"] == value
    said = claim["value"] if isinstance(claim["value"], list) else [claim["value"]]
    return any(isinstance(part, str) and str(value) in part for part in said)


def priced(observation: dict[str, Any], unit: str) -> str | None:
    """What an observation says of a unit: dollars, or its state in place of them."""
    found = [part for part in observation["prices"] if part["unit"] == unit]
    return None if not found else found[0]["usd"] if found[0]["usd"] is not None else found[0]["state"]


@pytest.mark.parametrize(("page", "name", "field", "value"), facts.CLAIMS)
def test_a_claim_is_there_with_its_page(model, page, name, field, value):
    answer = model(name)
    claims = [*answer["claims"], *(claim for route in answer["routes"] for claim in route["claims"])]
    found = [claim for claim in claims if claim["field"] == field and says(claim, value)]
    assert {claim["source"] for claim in found} & ids(answer, page), [c for c in claims if c["field"] == field]


@pytest.mark.parametrize(("page", "name", "provider", "endpoint", "prices"), facts.PRICES)
def test_a_price_is_there_with_its_page(model, page, name, provider, endpoint, prices):
    answer = model(name)
    routes = [each for each in answer["routes"] if each["provider_name"] == provider and endpoint in each["endpoint"]]
    said = [each for route in routes for each in route["observations"] if each["source"] in ids(answer, page)]
    assert any({unit: priced(each, unit) for unit in prices} == prices for each in said), said


@pytest.mark.parametrize(("publisher", "name", "provider", "input", "output"), facts.OTHER_PRICES)
def test_what_others_say_is_there_too(model, publisher, name, provider, input, output):
    answer = model(name)
    theirs = {source["id"] for source in answer["sources"] if source["publisher"] == publisher}
    said = [
        (priced(each, "input"), priced(each, "output"))
        for route in answer["routes"]
        for each in route["observations"]
        if route["provider_name"] == provider and each["source"] in theirs
    ]
    assert (input, output) in said


def test_the_tier_of_a_captions_price(model):
    [route] = [each for each in model("runware:150@2")["routes"] if each["provider"] == "runware"]
    [caption] = [each for each in route["prices"] if each["price"]["unit"] == "caption"]
    assert caption["price"]["band"] == {"of": "output_tokens", "least": 80, "most": 100}
    assert caption["price"]["nano_usd"] == 1_900_000


@pytest.mark.parametrize(("name", "type", "required", "default", "values"), facts.REQUEST)
def test_a_parameter_of_runwares_api(model, name, type, required, default, values):
    [route] = [each for each in model("runware:150@2")["routes"] if each["provider"] == "runware"]
    [field] = [each for each in route["fields"] if (each["of"], each["name"]) == ("request", name)]
    assert type in field["type"]
    assert (field["required"], field["default"]) == (required, default)
    assert values in (field["values"] or "")


def test_the_fields_of_runwares_answer(model):
    [route] = [each for each in model("runware:150@2")["routes"] if each["provider"] == "runware"]
    fields = [(each["name"], each["required"]) for each in route["fields"] if each["of"] == "response"]
    assert fields == facts.RESPONSE
    assert len([each for each in route["fields"] if each["of"] == "request"]) == len(facts.REQUEST)


@pytest.mark.parametrize(("title", "label", "task", "picture", "words"), facts.EXAMPLES)
def test_an_example_of_runwares(model, title, label, task, picture, words):
    answer = model("runware:150@2")
    [route] = [each for each in answer["routes"] if each["provider"] == "runware"]
    [example] = [each for each in route["examples"] if each["title"] == title]
    assert (example["label"], example["task"], example["words"]) == (label, task, words)
    assert example["image"] == f"https://assets.runware.ai/assets/inputs/{picture}"
    assert example["cost_usd"] == "0.0019"
    assert set(example["sources"]) == ids(answer, facts.RUNWARE) | ids(answer, facts.RUNWARE_EXAMPLES)


def test_how_often_pages_are_renewed_is_kept(model):
    for page, name in ((facts.LLAVA_ON_REPLICATE, "llava"), (facts.MIXTRAL_ON_REPLICATE, "mixtral")):
        [source] = [each for each in model(name)["sources"] if is_page(each, page)]
        assert source["refreshed"] == "weekly"
    [source] = [each for each in model("llava")["sources"] if is_page(each, facts.RUNWARE)]
    assert source["url"] == "https://runware.ai/docs/models/meta-llava-1-6-mistral-7b"


def test_statuses_are_what_the_pages_say(model):
    routes = {each["id"]: each for name in ("llava", "mixtral", "llava-1.5-7b") for each in model(name)["routes"]}
    assert routes["runware/llava-1.6-mistral-7b"]["status"] == "live"
    assert routes["runware/llava-1.6-mistral-7b"]["status_state"] == "sourced"
    assert routes["octoai/mixtral-8x7b"]["status"] == "deprecated"
    assert routes["gigarouter/llava-1.5-7b"]["status"] == "announced"
    assert routes["bedrock/mixtral-8x7b:us"]["ends"] == "2027-03-30"
    assert routes["together/mixtral-8x7b"]["status_since"] == "2026-04-16"
    assert routes["replicate/mixtral-8x7b"]["status_state"] == "derived"
    assert routes["replicate/mixtral-8x7b"]["status_formula"]


def test_counts_are_computed_and_the_stated_ones_are_claims(model):
    answer = model("llava")
    providers = {route["provider"] for route in answer["routes"] if not route["own"]}
    assert answer["model"]["providers"] == len(providers) >= 4
    assert {claim["value"] for claim in answer["claims"] if claim["field"] == "providers_counted"} == {2}


def test_what_is_said_of_a_family_stays_with_the_family(model):
    claims = model("llava")["claims"]
    assert {claim["of"] for claim in claims if claim["field"] == "languages"} == {"family"}
    assert all(claim["doubt"] for claim in claims if claim["of"] == "family")


def test_openness_is_never_a_truth_value(model):
    for name in ("llava", "mixtral"):
        values = [claim["value"] for claim in model(name)["claims"] if claim["field"] == "openness"]
        assert values
        assert not any(isinstance(value, bool) for value in values)
