"""The catalogue over HTTP: answers, errors, caches, and what a refresh changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from http_calls import Reply, call
from servers import Running, null_models, serving, start_null

from triptych.catalogue.load import today
from triptych.catalogue.machine import Rate, cost, own_offer, read_bench
from triptych.catalogue.records import write_record
from triptych.server.app import Options
from triptych.server.served import ModelSpec, ServedModel


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(data):
    with serving(null_models(), options=Options(data=data, drain=1)) as running:
        yield running


def get(server: Running, path: str, headers: dict[str, str] | None = None) -> Reply:
    return call(server.url, "GET", f"/catalogue{path}", headers=headers)


def test_models_and_providers_are_listed(server):
    models = get(server, "/models").json
    assert {"llava-1.6-mistral-7b", "mixtral-8x7b", "llava-1.5-7b"} <= {each["id"] for each in models["models"]}
    assert "newest" in models["rule"]
    assert models["freshness"]["on"] == today().isoformat()
    providers = get(server, "/providers").json["providers"]
    assert {"replicate", "runware", "triptych"} <= {each["id"] for each in providers}


@pytest.mark.parametrize("name", ["mixtral", "Mixtral%208x7B", "mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b/"])
def test_a_model_by_any_name(server, name):
    assert get(server, f"/models/{name}").json["model"]["id"] == "mixtral-8x7b"


def test_a_provider_with_its_routes(server):
    answer = get(server, "/providers/Replicate").json
    assert answer["provider"]["id"] == "replicate"
    assert {each["model"] for each in answer["routes"]} == {"llava-1.6-mistral-7b", "mixtral-8x7b", "llava-13b"}
    assert {each["source"] for route in answer["routes"] for each in route["observations"]} <= {
        source["id"] for source in answer["sources"]
    }


def test_the_cheapest_with_its_arithmetic(server):
    answer = get(server, "/cheapest?model=mixtral&input=5M&output=1M").json
    totals = [each["total_nano_usd"] for each in answer["charges"]]
    assert totals == sorted(totals)
    assert answer["compared"] == len(totals) > 10
    assert answer["workload"]["input"] == 5_000_000
    assert answer["assumptions"]
    assert {each["why"] for each in answer["left_out"]} >= {"deprecated"}
    by_default = get(server, "/cheapest?model=llava").json
    assert by_default["workload"]["captions"] == 1000
    assert get(server, "/cheapest?model=mixtral&by=input").json["workload"]["input"] == 1_000_000


def test_models_side_by_side(server):
    answer = get(server, "/compare?models=llava,mixtral,LLaVA%201.6%20Mistral%207B&captions=10").json
    llava, mixtral = answer["models"]
    assert (llava["model"]["id"], mixtral["model"]["id"]) == ("llava-1.6-mistral-7b", "mixtral-8x7b")
    assert llava["cheapest"]
    assert mixtral["cheapest"] == []
    assert mixtral["cannot"] == "Mixtral 8x7B takes no pictures: leave out images and captions"
    assert all(claim["shown"] for claim in llava["claims"])
    assert get(server, "/compare?models=llava").json["workload"] is None


def test_what_changed(server):
    answer = get(server, "/changes?since=2026-06-01&until=2026-07-02").json
    changed = {(each["route"], each["unit"]): (each["before"], each["after"]) for each in answer["changes"]}
    assert changed[("mistral/mixtral-8x7b", "input")] == ("0.15", "0.70")
    assert changed[("nvidia/mixtral-8x7b", "input")] == (None, "0.00")
    assert {each["observation"]["source"] for each in answer["observed"]} == {"models-dev-2026-07-02"}


@pytest.mark.parametrize(
    ("path", "status", "param", "words"),
    [
        ("/models/mixtrall", 404, "model", "did you mean tiny-mixtral or mixtral-8x7b?"),
        ("/models/<script>", 404, "model", "has no model"),
        ("/providers/replicat", 404, "provider", "did you mean"),
        ("/models?x=1", 400, "x", "Unknown parameter: 'x'."),
        ("/cheapest", 400, "model", "Missing required parameter: 'model'."),
        ("/cheapest?model=nobody&input=1", 404, "model", "has no model 'nobody'"),
        ("/cheapest?model=mixtral&tokens=1", 400, "tokens", "there are model, by, input"),
        ("/cheapest?model=mixtral&input=-1", 400, "input", "whole number"),
        ("/cheapest?model=mixtral&input=0", 400, None, "empty"),
        ("/cheapest?model=mixtral&captions=1", 400, "images", "takes no pictures"),
        ("/cheapest?model=mixtral&by=luck", 400, "by", "one of input, output, blend, caption"),
        ("/cheapest?model=mixtral&by=input&input=1", 400, "by", "exclude each other"),
        ("/compare", 400, "models", "Name one to 8 models"),
        ("/compare?models=" + ",".join(["llava"] * 9), 400, "models", "Name one to 8 models"),
        ("/changes", 400, "since", "Missing required parameter"),
        ("/changes?since=yesterday", 400, "since", "a day like 2026-07-01"),
        ("/changes?since=2026-02-01&until=2026-01-01", 400, None, "is after until"),
    ],
)
def test_errors_say_what_is_wrong(server, path, status, param, words):
    reply = get(server, path.replace("<", "%3C").replace(">", "%3E"))
    assert reply.status == status
    assert reply.error["param"] == param
    assert words in reply.error["message"]


def test_an_answer_that_has_not_changed_is_not_sent_again(server):
    first = get(server, "/models/mixtral")
    assert first.headers["cache-control"] == "private, max-age=60"
    tag = first.headers["etag"]
    for given in (tag, f"W/{tag}", f'"x", {tag}'):
        again = get(server, "/models/mixtral", {"if-none-match": given})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert get(server, "/models/mixtral", {"if-none-match": '"x"'}).body == first.body
    assert get(server, "/models/llava").headers["etag"] != tag
    head = call(server.url, "HEAD", "/catalogue/models/mixtral")
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", tag)


BENCH: dict[str, Any] = {
    "model": "x", "precision": "fp16", "device": "cpu", "results": [
        {"name": "prefill 256 tokens", "seconds": 1, "tokens_per_second": 100},
        {"name": "decode 64 tokens", "seconds": 1, "tokens_per_second": 100},
    ],
}  # fmt: skip


def test_what_is_recorded_is_seen_at_once(server, data):
    from triptych.catalogue.load import load

    before = get(server, "/models/mixtral")
    catalogue = load(data)
    speed = read_bench(json.dumps(BENCH).encode())
    made = cost(speed, Rate(36 * 10**8, "$3.60 an hour"))
    write_record(data, today(), "measured", own_offer(catalogue, catalogue.model("mixtral"), made, today(), "1"))
    after = get(server, "/models/mixtral", {"if-none-match": before.headers["etag"]})
    assert after.status == 200
    [own] = [each for each in after.json["routes"] if each["own"]]
    prices = {each["price"]["unit"]: each["price"]["usd"] for each in own["prices"]}
    assert prices == {"input": "10.00", "output": "10.00"}
    assert {each["price"]["state"] for each in own["prices"]} == {"derived"}
    assert get(server, "/cheapest?model=mixtral&by=input").json["charges"][-1]["own"]


def test_a_record_that_is_wrong_is_told_and_does_no_harm(server, data):
    bad = data / "catalogue" / "2026-01-01-bad.json"
    bad.write_text('{"prices": [{"route": "p", "source": "s", "input": "-1"}]}')
    problems = get(server, "/models").json["freshness"]["problems"]
    assert any("2026-01-01-bad.json" in problem and "negative" in problem for problem in problems)
    bad.unlink()
    assert get(server, "/models").json["freshness"]["problems"] == []


def test_what_runs_here_is_named_by_its_weights_never_by_an_alias():
    real = ServedModel(
        ModelSpec("mine", "mistralai/Mixtral-8x7B-Instruct-v0.1", (), {}), start_null
    )
    small = ServedModel(ModelSpec("small", "triptych/tiny-mixtral", ("mixtral-8x7b",), {}), start_null)
    with serving([real, small], options=Options(drain=1)) as server:
        models = {each["id"]: each["served"] for each in get(server, "/models").json["models"]}
    assert models["mixtral-8x7b"] == ["mine"]
    assert models["tiny-mixtral"] == ["small"]


def test_a_key_is_asked_for_as_everywhere():
    with serving(null_models(), options=Options(keys=("secret",), drain=1)) as server:
        assert get(server, "/models").status == 401
        assert get(server, "/models", {"authorization": "Bearer secret"}).status == 200
