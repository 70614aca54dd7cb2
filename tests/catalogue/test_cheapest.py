"""What a workload costs: the arithmetic against decimal, the ranking by its properties, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_catalogue import ON

from triptych.catalogue.cheapest import Charge, charge, cheapest
from triptych.catalogue.errors import WorkloadError
from triptych.catalogue.load import load
from triptych.catalogue.units import UNITS
from triptych.catalogue.workload import CRITERIA, Workload, parse_workload, read_workload, settled

CATALOGUE = load(on=ON)
LLAVA = CATALOGUE.model("llava-1.6-mistral-7b")
MIXTRAL = CATALOGUE.model("mixtral-8x7b")
COUNTS = st.integers(0, 10**9)
TEXT = st.builds(Workload, input=COUNTS, output=COUNTS)
PICTURES = st.builds(
    Workload, input=COUNTS, output=COUNTS, images=st.integers(0, 10**6), captions=st.integers(0, 10**6),
    prompt_tokens=st.integers(0, 500), caption_tokens=st.integers(1, 500), image_tokens=st.integers(1, 2880),
)  # fmt: skip


def by_hand(found: Charge) -> Decimal:
    """The total in dollars, again and with decimal, from the quantities and prices of the lines."""
    return sum(
        (Decimal(line.quantity) * Decimal(line.price) / Decimal(UNITS[line.unit].per) / Decimal(10**9)
         for line in found.lines), Decimal(0),
    )  # fmt: skip


@settings(max_examples=200)
@given(workload=PICTURES)
def test_totals_are_what_decimal_says(workload):
    for found in cheapest(CATALOGUE, LLAVA, workload, ON).charges:
        assert abs(Decimal(found.total) / 10**9 - by_hand(found)) <= Decimal("0.5e-9")


@settings(max_examples=200)
@given(workload=TEXT)
def test_the_ranking_is_from_the_cheapest_up_and_names_every_route(workload):
    if workload.empty:
        return
    found = cheapest(CATALOGUE, MIXTRAL, workload, ON)
    totals = [each.exact for each in found.charges]
    assert totals == sorted(totals)
    named = [each.route.id for each in (*found.charges, *found.left_out)]
    assert sorted(named) == sorted(route.id for route in CATALOGUE.routes_of(MIXTRAL))
    for each in found.charges:
        assert CATALOGUE.standing(each.route, ON).live
        tokens = {line.unit: line.quantity for line in each.lines}
        assert tokens == {
            unit: number for unit, number in (("input", workload.input), ("output", workload.output)) if number
        }


@settings(max_examples=100)
@given(workload=TEXT, more=st.integers(1, 10**6))
def test_more_work_never_costs_less(workload, more):
    larger = replace(workload, input=workload.input + more, output=workload.output + more)
    for route in CATALOGUE.routes_of(MIXTRAL):
        before, after = charge(CATALOGUE, route, workload, ON), charge(CATALOGUE, route, larger, ON)
        if isinstance(before, Charge) and isinstance(after, Charge):
            assert after.exact >= before.exact


@settings(max_examples=100)
@given(captions=st.integers(1, 10**5), times=st.integers(2, 50))
def test_twice_the_captions_cost_exactly_twice(captions, times):
    once = {c.route.id: c.exact for c in cheapest(CATALOGUE, LLAVA, Workload(captions=captions), ON).charges}
    often = {c.route.id: c.exact for c in cheapest(CATALOGUE, LLAVA, Workload(captions=captions * times), ON).charges}
    assert {id: exact * times for id, exact in once.items()} == often


def test_a_caption_of_llava_costs_what_one_works_out_by_hand():
    found = cheapest(CATALOGUE, LLAVA, CRITERIA["caption"], ON)
    totals = {each.route.id: each.total for each in found.charges}
    # 2,880 tokens of picture and 60 of prompt at $0.05 and 100 of answer at $0.25 per million; a flat price elsewhere.
    assert totals["replicate/llava-1.6-mistral-7b"] == 147_000 + 25_000
    assert totals["runware/llava-1.6-mistral-7b"] == 1_900_000
    assert 11 < totals["runware/llava-1.6-mistral-7b"] / totals["replicate/llava-1.6-mistral-7b"] < 11.1
    single = cheapest(CATALOGUE, LLAVA, Workload(captions=1, image_tokens=576), ON)
    assert {each.route.id: each.total for each in single.charges}["replicate/llava-1.6-mistral-7b"] == 56_800
    assert any("2,880 input tokens" in text for text in found.assumptions)
    assert any("576 input tokens" in text and "as stated" in text for text in single.assumptions)


def test_the_arithmetic_is_shown():
    [found] = [each for each in cheapest(CATALOGUE, MIXTRAL, Workload(input=5_000_000, output=1), ON).charges
               if each.route.id == "replicate/mixtral-8x7b"]  # fmt: skip
    assert [line.arithmetic for line in found.lines] == [
        "5,000,000 input tokens x $0.30 / 1M = $1.50", "1 output token x $1.00 / 1M = $0.000001",
    ]  # fmt: skip


def test_deprecated_retired_announced_and_unpriced_routes_are_left_out_with_the_reason():
    found = cheapest(CATALOGUE, MIXTRAL, CRITERIA["input"], ON)
    why = {each.route.id: each.why for each in found.left_out}
    assert why["octoai/mixtral-8x7b"] == "deprecated"
    assert why["together/mixtral-8x7b"] == "deprecated since 2026-04-16"
    assert why["mistral/mixtral-8x7b"] == "retired since 2024-11-30"
    assert why["nvidia-nim/mixtral-8x7b"] == "no source gives a price"
    assert "bedrock/mixtral-8x7b:us" in {each.route.id for each in found.charges}
    later = cheapest(CATALOGUE, MIXTRAL, CRITERIA["input"], date(2027, 3, 30))
    assert {each.route.id: each.why for each in later.left_out}["bedrock/mixtral-8x7b:us"].startswith("deprecated")
    llava15 = cheapest(CATALOGUE, CATALOGUE.model("llava-1.5-7b"), CRITERIA["caption"], ON)
    assert llava15.charges == ()
    assert {each.route.id: each.why for each in llava15.left_out}["gigarouter/llava-1.5-7b"] == "announced"


def test_a_free_route_is_priced_and_an_unpriced_one_is_not_free():
    first = cheapest(CATALOGUE, MIXTRAL, CRITERIA["blend"], ON).charges[0]
    assert (first.route.id, first.total) == ("nvidia/mixtral-8x7b", 0)


def test_what_a_tier_does_not_cover_is_not_priced_with_it():
    for tokens, covered in ((79, False), (80, True), (100, True), (101, False)):
        found = cheapest(CATALOGUE, LLAVA, Workload(captions=1, caption_tokens=tokens), ON)
        priced = {each.route.id for each in found.charges}
        assert ("runware/llava-1.6-mistral-7b" in priced) == covered
    [out] = [each for each in found.left_out if each.route.provider == "runware"]
    assert "80 to 100 output tokens" in out.why


def test_who_is_paid_by_the_caption_is_not_asked_for_text():
    found = cheapest(CATALOGUE, LLAVA, Workload(input=1000, captions=1), ON)
    [out] = [each for each in found.left_out if each.route.provider == "runware"]
    assert out.why == "priced per caption only, and the workload has more than that"


def test_who_is_paid_by_the_call_or_by_time():
    model = CATALOGUE.model("llava-1.6-7b")
    [found] = cheapest(CATALOGUE, model, Workload(captions=10), ON).charges
    assert found.total == 60_000_000
    [out] = cheapest(CATALOGUE, model, Workload(input=10), ON).left_out
    assert out.why == "paid per call: state calls"
    [found] = cheapest(CATALOGUE, model, Workload(input=10, calls=3), ON).charges
    assert found.total == 18_000_000
    timed = cheapest(CATALOGUE, CATALOGUE.model("llava-13b"), Workload(captions=1), ON).charges
    assert [(each.route.id, each.total) for each in timed] == [("eachlabs/llava-13b", 7_700_000)]
    assert "about 7 s" in timed[0].note
    assert 1_000_000_000 // timed[0].total == 129


def test_pictures_of_a_size_that_nobody_told_are_not_guessed():
    model = CATALOGUE.model("llava-7b")
    found = cheapest(CATALOGUE, model, Workload(captions=1), ON)
    assert [each.why for each in found.left_out] == ["paid per token, and how many tokens a picture is is not known"]
    assert any("not known" in text for text in found.assumptions)
    [told] = cheapest(CATALOGUE, model, Workload(captions=1, image_tokens=576), ON).charges
    assert told.total == 63_600 + 20_000


def test_what_does_not_fit_a_context_is_left_out():
    model = CATALOGUE.model("llava-1.6-34b")
    assert cheapest(CATALOGUE, model, Workload(captions=1), ON).charges
    [out] = cheapest(CATALOGUE, model, Workload(captions=1, prompt_tokens=2000), ON).left_out
    assert out.why == "a caption needs 4,980 tokens; its context is 4,096"


def test_half_a_price_is_none(written):
    catalogue = written('prices = [\n  {route = "p/m", source = "list", input = "1"},\n]\n')
    [out] = cheapest(catalogue, catalogue.models["m"], Workload(input=1, output=1), ON).left_out
    assert out.why == "no price output / 1M is known"
    assert cheapest(catalogue, catalogue.models["m"], Workload(input=1), ON).charges


def test_pictures_for_a_model_that_takes_none():
    with pytest.raises(WorkloadError, match="Mixtral 8x7B takes no pictures"):
        cheapest(CATALOGUE, MIXTRAL, Workload(captions=1), ON)


@pytest.mark.parametrize(
    ("text", "workload"),
    [
        ("input=1M,output=200K", Workload(input=1_000_000, output=200_000)),
        (" input = 1.5m , captions = 2 ", Workload(input=1_500_000, captions=2)),
        ("blend", CRITERIA["blend"]),
        ("captions=1b", Workload(captions=10**9)),
        ("input=0.000001m", Workload(input=1)),
    ],
)
def test_workloads_as_they_are_written(text, workload):
    assert parse_workload(text) == workload


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("input=0", "empty"), ("tokens=1", "has no 'tokens'; it has input, output"), ("inputs", "no part"),
        ("input=-1", "whole number"), ("input=1.5", "whole number"), ("input=1e6", "whole number"),
        ("input=1,input=2", "given twice"), ("input=9999999999999999", "whole number"), ("input=999999999b", "at most"),
        ("input=\u0661", "whole number"), ("input=", "whole number"),
    ],
)  # fmt: skip
def test_wrong_workloads(text, why):
    with pytest.raises(WorkloadError, match=why):
        parse_workload(text)


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=4))
def test_anything_is_a_workload_or_an_error_in_words(values):
    try:
        workload = read_workload(values)
    except WorkloadError:
        return
    assert not workload.empty


def test_a_stated_size_of_a_picture_stays():
    assert settled(Workload(captions=1, image_tokens=7), LLAVA).image_tokens == 7
    assert settled(Workload(captions=1), LLAVA).image_tokens == 2880
