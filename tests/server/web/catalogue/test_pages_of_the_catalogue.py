"""Pages of the catalogue: they find, compute, and say what is wrong."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from html_page import Page
from http_calls import call
from servers import Running, null_models, serving, start_null

from triptych.catalogue.answers import FailedRefresh
from triptych.catalogue.load import load
from triptych.catalogue.views import Views
from triptych.engine.sizing import GIB
from triptych.server.app import Options
from triptych.server.catalogue import Snapshot
from triptych.server.served import ModelSpec, ServedModel
from triptych.server.web.catalogue import words
from triptych.server.web.catalogue.comparison import asked, priced, ranking
from triptych.server.web.catalogue.hardware import hardware
from triptych.server.web.catalogue.model_page import model_page
from triptych.server.web.catalogue.specs import model_specs
from triptych.server.web.pages import render

ON = load().newest()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    tiny = ServedModel(ModelSpec("mine", "triptych/tiny-llava-1.6", ("other/name",), {}), start_null)
    data = tmp_path_factory.mktemp("data")
    with serving([*null_models(), tiny], data=data, options=Options(drain=1, data=data)) as running:
        yield running


def read(server: Running, path: str) -> Page:
    reply = call(server.url, "GET", path)
    assert reply.status == 200, reply.body[:300]
    return Page(reply.body.decode())


def names(page: Page) -> list[str]:
    return page.parts["h2"]


# ---- what they show -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=runware:150@2", {"LLaVA 1.6 Mistral 7B"}),
        ("q=MIXTRAL+8x22b", {"Mixtral 8x22B"}),
        ("q=alt+text", {"LLaVA 1.5 7B", "LLaVA 1.6 Mistral 7B"}),
        ("family=mixtral", {"Mixtral 8x7B", "Mixtral 8x22B"}),
        ("family=mixtral&runs=1", {"Mixtral 8x7B"}),
        ("family=mixtral&sees=1", {"No model is like that"}),
        ("served=1", {"Tiny LLaVA 1.6 (demonstration)"}),
        ("q=%3Cscript%3E", {"No model is like that"}),
        ("unknown=1&family=mixtral", {"Mixtral 8x7B", "Mixtral 8x22B"}),
    ],
)
def test_models_are_searched_and_filtered(server, query, expected):
    assert set(names(read(server, f"/app/models?{query}"))) >= expected
    assert len(names(read(server, f"/app/models?{query}"))) <= max(len(expected), 4)


def test_counts_are_those_of_the_catalogue(server):
    catalogue = load()
    page = read(server, "/app/models")
    assert len(names(page)) == len(catalogue.models)
    assert f"{len(catalogue.routes)} routes at {len(catalogue.providers)} providers" in page.text
    mixtral = read(server, "/app/models/mixtral-8x7b").text
    elsewhere = {route.provider for route in catalogue.routes.values() if route.model == "mixtral-8x7b"} - {"triptych"}
    assert f"Providers {len(elsewhere)} counted" in mixtral
    assert "18" in Page(call(server.url, "GET", "/app/models/mixtral-8x7b").body.decode()).facts[
        "Providers, as a page counts them"]  # fmt: skip


def test_a_model_that_runs_here_has_recipes_with_names_that_work(server):
    page = read(server, "/app/models/tiny-llava-1.6")
    code = page.parts["pre"]
    for dialect in ("openai", "replicate", "runware"):
        assert f"dialect-{dialect}" in page.ids
    assert any("mine" in each and f"{server.url}/v1" in each for each in code)
    assert any("other/name" in each for each in code)  # Replicate's clients want an owner
    assert "starts on first use" in page.text
    assert max(page.ids.values()) == 1


def test_what_a_recipe_needs_on_a_server_with_keys_is_line_by_line(tmp_path):
    tiny = ServedModel(ModelSpec("mine", "triptych/tiny-llava-1.6", (), {}), start_null)
    with serving([tiny], data=tmp_path, options=Options(keys=("k",), drain=1)) as server:
        body = call(server.url, "GET", "/app/models/tiny-llava-1.6", headers={"authorization": "Bearer k"}).body
    assert "Needs pip install openai , then export OPENAI_API_KEY=YOUR_KEY" in Page(body.decode()).text


def test_price_lists_that_could_not_be_read_are_named():
    failed = FailedRefresh("prices.example/list.json", datetime(2026, 5, 4, 3, 2, tzinfo=UTC), "it answered <b>503</b>")
    catalogue = load()
    snapshot = Snapshot(catalogue, Views(catalogue, ON, None, (failed,)), ("key",))
    html = render("catalogue/model.html", words=words, freshness=snapshot.views.freshness(), recipes=[],
                  **model_page(snapshot, catalogue.model("mixtral-8x7b"), []))  # fmt: skip
    assert "prices.example/list.json, tried on 2026-05-04 at 03:02 UTC: it answered <b>503</b>" in Page(html).text


def test_a_model_that_does_not_run_here_has_the_command_and_the_hardware(server):
    page = read(server, "/app/models/mixtral-8x7b")
    assert "triptych serve mistralai/Mixtral-8x7B-Instruct-v0.1" in page.parts["pre"]
    assert "46,702,792,704 parameters" in page.text
    assert "96 GB holds 103.1 GB" in page.parts["td"]
    assert "knows no weights" in read(server, "/app/models/mixtral-8x22b").text


@pytest.mark.parametrize(
    ("checkpoint", "parameters", "weights"),
    [
        ("llava-hf/llava-1.5-7b-hf", 7_063_427_072, 14.127), ("llava-hf/llava-1.5-13b-hf", 13_351_494_656, 26.703),
        ("llava-hf/llava-v1.6-mistral-7b-hf", 7_566_747_648, 15.133),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 46_702_792_704, 93.406),
    ],
)  # fmt: skip
def test_hardware_follows_from_the_published_sizes(checkpoint, parameters, weights):
    needed = hardware(checkpoint)
    # The last layer of the vision tower is in the checkpoint and is not loaded.
    assert 0 <= parameters - needed.parameters < 13_000_000
    wide, eight, four = needed.fits
    assert wide.weights / 1e9 == pytest.approx(weights, abs=0.03)
    assert four.weights < eight.weights < wide.weights
    for fit in needed.fits:
        assert fit.total == fit.weights + needed.kv + needed.room
        assert fit.card is None or fit.card * GIB >= fit.total


def test_every_checkpoint_of_the_catalogue_has_its_hardware():
    checkpoints = [model.checkpoint for model in load().models.values() if model.checkpoint]
    assert all(hardware(each) for each in checkpoints if not each.startswith("triptych/"))
    assert hardware("somebody/else") is None


# ---- comparing ------------------------------------------------------------------------------------------------------


def test_compare_ranks_the_routes_of_all_models_as_the_api_does(server):
    page = read(server, "/app/compare?model=mixtral-8x7b&model=mixtral-8x22b&input=3M&output=1M")
    told = [
        call(server.url, "GET", f"/catalogue/cheapest?model={name}&input=3M&output=1M").json
        for name in ("mixtral-8x7b", "mixtral-8x22b")
    ]
    expected = sorted(charge["total_nano_usd"] for each in told for charge in each["charges"])
    shown = [text for text in page.parts["td"] if re.fullmatch(r"\$[\d.]+", text)][: len(expected)]
    assert [round(float(text[1:]) * 1e9) for text in shown] == expected
    lines = [line for each in told for charge in each["charges"] for line in charge["lines"]]
    assert all(line["arithmetic"] in page.text for line in lines)
    assert all(each["why"] in page.text for answer in told for each in answer["left_out"])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("model=mixtral-8x7b&input=x", "Input must be a whole number"),
        ("model=mixtral-8x7b&input=-5", "Input must be a whole number"),
        ("model=mixtral-8x7b&captions=5", "Mixtral 8x7B takes no pictures"),
        ("model=nobody&captions=5", "The catalogue has no model 'nobody'"),
        ("model=mixtral-8x7b&input=0", "The workload is empty"),
        ("model=llava-1.6-mistral-7b&captions=1&caption_tokens=5000", "its only known tier is 80 to 100"),
        ("&".join(f"model=llava-1.5-7b&x{n}=1" for n in range(9)), "at most 8 models"),
    ],
)
def test_compare_says_what_is_wrong_and_stays_a_page(server, query, said):
    assert said in read(server, f"/app/compare?{query}").text


def test_compare_begins_with_something(server):
    page = read(server, "/app/compare")
    assert "1,000 captions x $0.0019 = $1.90" in page.text
    for link in (link for link in page.links if link.startswith("/app/compare?")):
        assert "What the workload costs" in read(server, link).text


def test_changes_are_those_of_the_api(server):
    page = read(server, "/app/changes?since=2026-05-01")
    told = call(server.url, "GET", "/catalogue/changes?since=2026-05-01").json["changes"]
    assert len(told) > 10
    assert sum(text.split(":")[0] in ("new price", "price", "status") for text in page.parts["td"]) == len(told)
    assert {"new price: input / 1M", "new price: per caption"} <= set(page.parts["td"])
    for wrong in ("yesterday", "2999-01-01", "2026-13-01"):
        assert "Not a day up to" in read(server, f"/app/changes?since={wrong}").text


def test_unknown_fields_still_have_a_name():
    catalogue = load()
    claims = Views(catalogue, ON).model(catalogue.model("mixtral-8x7b")).claims
    shown = model_specs(claims)
    assert len(shown) == len({(claim.field, claim.of) for claim in claims} - {
        (claim.field, claim.of) for claim in claims if claim.field in words.MARKET})  # fmt: skip
    assert words.label("brand_new.thing") == "Brand new: thing"


def test_ranking_of_nothing_is_empty():
    catalogue = load()
    snapshot = Snapshot(catalogue, Views(catalogue, ON), ("key",))
    asking = asked(snapshot, {"model": ["mixtral-8x7b"], "input": ["what"]})
    assert asking.errors.keys() == {"input"}
    assert ranking(priced(snapshot, asking)) == []
