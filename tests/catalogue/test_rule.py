"""What is shown of contradicting sources, and statuses on a day."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from small_catalogue import BASE, ON

SOURCE = """
[[sources]]
id = "%s"
publisher = "%s"
title = "T"
kind = "%s"
seen = 2026-11-01
%s
"""


def source(id: str, kind: str, day: str | None, publisher: str = "") -> str:
    return SOURCE % (id, publisher or id, kind, f"date = {day}" if day else "")


def price(source: str, input: str, more: str = "") -> str:
    return f'  {{route = "p/m", source = "{source}", input = "{input}"{more}}},'


def shown(written, sources: list[str], prices: list[str], on: date = ON):
    catalogue = written("prices = [\n" + "\n".join(prices) + "\n]\n", "".join(sources))
    return catalogue.prices(catalogue.routes["p/m"], on)["input"]


def test_the_newest_counts_and_the_others_stay(written):
    found = shown(
        written, [source("old", "provider", "2026-01-01"), source("new", "page", "2026-06-01")],
        [price("old", "1.00"), price("new", "2.00")],
    )  # fmt: skip
    assert (found.observation.source, found.others, found.contested) == ("new", 1, True)


def test_of_one_day_the_nearest_to_the_provider_counts(written):
    kinds = ["page", "catalogue", "list", "card", "provider", "measurement"]
    for lower, higher in pairwise(kinds):
        found = shown(
            written, [source("a", lower, "2026-01-01"), source("b", higher, "2026-01-01")],
            [price("a", "2.00"), price("b", "1.00")],
        )  # fmt: skip
        assert found.observation.source == "b"


def test_then_the_higher_price_counts(written):
    found = shown(
        written, [source("a", "list", "2026-01-01"), source("b", "list", "2026-01-01")],
        [price("a", "2.00"), price("b", "1.00")],
    )  # fmt: skip
    assert (found.observation.source, found.contested) == ("a", True)


def test_undated_sources_and_prices_without_a_number_give_way(written):
    sources = [source("undated", "provider", None), source("dated", "page", "2023-01-01"),
               source("blank", "provider", "2026-06-01")]  # fmt: skip
    prices = [price("undated", "1.00"), price("dated", "2.00"), price("blank", "not sourced")]
    assert shown(written, sources, prices).observation.source == "dated"
    assert shown(written, sources, prices[::2]).observation.source == "undated"
    alone = shown(written, sources, prices[2:])
    assert (alone.component.nano, alone.component.state, alone.others) == (None, "not sourced", 0)


def test_zero_is_a_price_and_not_sourced_is_none(written):
    found = shown(written, [source("a", "list", "2026-01-01")], [price("a", "0")])
    assert (found.component.nano, found.component.state) == (0, "sourced")


def test_a_price_holds_from_its_first_to_its_last_day(written):
    prices = [price("list", "1.00", ", until = 2026-08-31"), price("list", "2.00", ", since = 2026-09-01")]
    assert shown(written, [], prices, date(2026, 8, 31)).component.nano == 10**9
    assert shown(written, [], prices, date(2026, 9, 1)).component.nano == 2 * 10**9


def test_nothing_is_known_before_its_source(written):
    catalogue = written("prices = [\n" + price("list", "1.00") + "\n]\n")
    route = catalogue.routes["p/m"]
    assert catalogue.prices(route, date(2026, 6, 30)) == {}
    assert list(catalogue.prices(route, date(2026, 7, 1))) == ["input"]


def test_what_a_list_says_again_is_said_once_and_is_as_new_as_its_last_word(written):
    sources = [source("l1", "list", "2026-01-01", "L"), source("l2", "list", "2026-03-01", "L"),
               source("other", "provider", "2026-02-01")]  # fmt: skip
    prices = [price("l1", "1.00"), price("l2", "1.00"), price("other", "5.00")]
    found = shown(written, sources, prices)
    assert (found.observation.source, found.observation.last, found.others) == ("l1", date(2026, 3, 1), 1)
    assert shown(written, sources, prices, date(2026, 2, 15)).observation.source == "l1"


def test_what_a_list_changed_and_changed_back_is_said_three_times(written):
    sources = [source(f"l{month}", "list", f"2026-0{month}-01", "L") for month in (1, 2, 3)]
    prices = [price("l1", "1.00"), price("l2", "2.00"), price("l3", "1.00")]
    assert shown(written, sources, prices).others == 2
    assert shown(written, sources, prices, date(2026, 2, 2)).component.nano == 2 * 10**9


def test_pages_are_never_put_together(written):
    sources = [source("p1", "catalogue", "2026-01-01", "P"), source("p2", "catalogue", "2026-02-01", "P")]
    assert shown(written, sources, [price("p1", "1.00"), price("p2", "1.00")]).others == 1


def status(written, rows: list[str], on: date = ON):
    claims = "claims = [\n" + "\n".join(f'  {{on = "p/m", field = "status", source = "list", {row}}},' for row in rows)
    catalogue = written(claims + "\n]\n")
    return catalogue.standing(catalogue.routes["p/m"], on)


def test_without_a_word_a_route_is_live_and_that_is_derived(written):
    found = status(written, [])
    assert (found.status, found.claim, found.live) == ("live", None, True)


def test_a_status_begins_on_its_day(written):
    rows = ['value = "live"', 'value = "deprecated", since = 2026-10-01', 'value = "retired", since = 2027-01-01']
    assert status(written, rows, date(2026, 9, 30)).status == "live"
    found = status(written, rows, date(2026, 10, 1))
    assert found.status == "deprecated"
    assert found.ends is not None
    assert found.ends.since == date(2027, 1, 1)
    assert status(written, rows, date(2027, 1, 1)).status == "retired"


@pytest.mark.parametrize("word", ["announced", "deprecated", "retired"])
def test_only_live_is_live(written, word):
    assert not status(written, [f'value = "{word}"']).live


def test_a_doubted_claim_gives_way(written):
    from triptych.catalogue.rule import shown_claim

    catalogue = written(
        'claims = [\n  {on = "m", field = "x", source = "list", value = "wrong", doubt = "why"},\n'
        '  {on = "m", field = "x", source = "list", value = "right"},\n'
        '  {on = "m", field = "x", source = "list", state = "not sourced"},\n]\n'
    )
    found = shown_claim(catalogue.claims["m"], catalogue.sources, ON)
    assert found is not None
    assert found.value == "right"


def test_the_base_is_a_catalogue(written):
    assert set(written().models) == {"m"}
    assert BASE
