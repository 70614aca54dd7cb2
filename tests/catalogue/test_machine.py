"""What this machine costs: from a measurement and the price of an hour, and the break-even with others."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_catalogue import ON

from triptych.catalogue.cheapest import cheapest
from triptych.catalogue.errors import CatalogueError
from triptych.catalogue.load import load
from triptych.catalogue.machine import (
    Cost,
    Rate,
    Speed,
    break_even,
    cost,
    hourly,
    own_charge,
    own_offer,
    read_bench,
)
from triptych.catalogue.records import write_record
from triptych.catalogue.workload import CRITERIA, Workload

CATALOGUE = load(on=ON)
LLAVA = CATALOGUE.model("llava")
DOLLAR = 10**9
BENCH = {
    "model": "llava-hf/llava-v1.6-mistral-7b-hf", "precision": "fp16", "device": "cuda",
    "machine": {"read_gb_s": 1.0, "gflop_s": 1.0},
    "results": [
        {"name": "load", "seconds": 9.0, "gb_s": 1.5},
        {"name": "prefill 256 tokens", "seconds": 0.1, "tokens_per_second": 10_000.0},
        {"name": "decode 64 tokens", "seconds": 1.0, "tokens_per_second": 50.0},
        {"name": "decode 64 tokens, 8 together", "seconds": 1.0, "tokens_per_second": 1000.0},
        {"name": "picture of 2900 tokens, new", "seconds": 0.5, "tokens_per_second": 5800.0},
        {"name": "picture of 2900 tokens, again", "seconds": 0.1},
    ],
}  # fmt: skip


def bench(**changed: object) -> bytes:
    return json.dumps({**BENCH, **changed}).encode()


def made(rate: int = 36 * DOLLAR // 10) -> Cost:
    return cost(read_bench(bench()), Rate(rate, "$3.60 an hour"))


def test_dollars_per_million_tokens_and_per_caption():
    found = made()
    # $3.60 an hour is $0.001 a second.
    assert found.input == 100 * 1_000_000
    assert found.output == DOLLAR
    assert found.caption == 1_000_000 * (0.5 + 100 / 1000)
    assert "10,000.0 tokens/s of prompt" in found.formulas["input"]
    assert "8 answers together" in found.formulas["output"]
    assert "picture of 2900 tokens" in found.formulas["caption"]


def test_without_a_picture_there_is_no_price_of_a_caption():
    found = cost(read_bench(bench(results=BENCH["results"][:4])), Rate(DOLLAR, "x"))
    assert found.caption is None
    assert set(found.formulas) == {"input", "output"}


def test_an_hour_by_rent_by_energy_or_both():
    assert hourly(3 * DOLLAR, None, None).nano == 3 * DOLLAR
    energy = hourly(None, 350, 300_000_000)
    assert energy.nano == 105_000_000
    assert energy.formula == "350 W x $0.30 / kWh"
    assert hourly(DOLLAR, 350, 300_000_000).nano == DOLLAR + 105_000_000
    for given_ in ((None, None, None), (None, 350, None), (DOLLAR, None, 1)):
        with pytest.raises(CatalogueError, match="--"):
            hourly(*given_)


def test_time_that_is_not_used_is_paid_for():
    whole = made()
    half = cost(whole.speed, replace(whole.rate, share=Fraction(1, 2)))
    assert (half.input, half.output) == (2 * whole.input, 2 * whole.output)
    assert "/ 0.5 of the time" in half.formulas["input"]


@settings(max_examples=100)
@given(captions=st.integers(1, 10**6), rate=st.integers(1, 100 * DOLLAR))
def test_at_the_break_even_both_cost_the_same(captions, rate):
    found = made(rate)
    work = Workload(captions=captions)
    rivals = break_even(CATALOGUE, LLAVA, work, found, ON)
    assert [each.charge.route.provider for each in rivals] == ["replicate", "ovhcloud", "runware"]
    for each in rivals:
        assert each.factor is not None
        assert each.hourly is not None
        # Busy for `factor` of an hour it does `hourly` workloads, and an hour costs what they cost there.
        assert each.hourly * each.charge.exact == rate
        seconds = own_charge(found, LLAVA, work) / found.rate.per_second
        assert each.hourly * seconds == 3600 * each.factor


def test_the_share_of_the_time_does_not_move_the_break_even():
    whole = made()
    half = replace(whole, rate=replace(whole.rate, share=Fraction(1, 2)))
    factors = [[each.factor for each in break_even(CATALOGUE, LLAVA, CRITERIA["caption"], each_cost, ON)]
               for each_cost in (whole, half)]  # fmt: skip
    assert factors[0] == factors[1]


def test_what_is_free_elsewhere_is_never_dearer():
    mixtral = CATALOGUE.model("mixtral")
    first = break_even(CATALOGUE, mixtral, CRITERIA["blend"], made(), ON)[0]
    assert (first.charge.route.id, first.factor, first.hourly) == ("nvidia/mixtral-8x7b", None, None)


def test_a_measurement_becomes_this_machines_offer_and_the_later_one_counts(tmp_path):
    for stamp, rate in (("20261126t100000.000000", 72 * DOLLAR // 10), ("20261126t110000.000000", 36 * DOLLAR // 10)):
        found = made(rate)
        assert write_record(tmp_path, ON, "measured", own_offer(CATALOGUE, LLAVA, found, ON, stamp)) is not None
    catalogue = load(tmp_path, ON)
    assert catalogue.problems == ()
    route = catalogue.routes["triptych/llava-1.6-mistral-7b"]
    shown = catalogue.prices(route, ON)
    assert {unit: each.component.nano for unit, each in shown.items()} == {
        "input": 100_000_000, "output": DOLLAR, "caption": 600_000,
    }  # fmt: skip
    assert {each.component.state for each in shown.values()} == {"derived"}
    ranked = cheapest(catalogue, LLAVA, CRITERIA["caption"], ON)
    assert [each.route.provider for each in ranked.charges] == ["replicate", "triptych", "ovhcloud", "runware"]
    assert [each.charge.route.provider for each in break_even(catalogue, LLAVA, CRITERIA["caption"], made(), ON)] == [
        "replicate", "ovhcloud", "runware",
    ]  # fmt: skip


def test_a_model_that_does_not_run_here_has_no_offer_of_this_machine():
    with pytest.raises(CatalogueError, match="no route of this machine"):
        own_offer(CATALOGUE, CATALOGUE.model("firellava-13b"), made(), ON, "x")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not what `triptych bench --json` prints"),
        (b"[]", "not what"),
        (b"[" * 100_000, "not what"),
        (b"\xff", "not what"),
        (b'{"model": "x"}', "missing required field"),
        (bench(results=[]), "no prefill or no decoding"),
        (bench(results=[{"name": "prefill 256 tokens", "seconds": 0, "tokens_per_second": 0}]), "no prefill"),
        (bench(results=[{**each, "tokens_per_second": -1} for each in BENCH["results"]]), "no prefill"),
        (bench(results=[{"name": "prefill 256 tokens", "seconds": "fast"}]), "got `str`"),
    ],
)
def test_what_is_no_measurement(content, why):
    with pytest.raises(CatalogueError, match=why):
        read_bench(content)


def test_a_speed_is_what_the_bench_says():
    found = read_bench(bench())
    assert found == Speed(
        BENCH["model"], "fp16", "cuda", Fraction(10_000), Fraction(1000), 8, Fraction(1, 2), 2900
    )  # fmt: skip
