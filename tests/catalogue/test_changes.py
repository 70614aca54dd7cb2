"""What changed between two days."""

from __future__ import annotations

from datetime import date

import pytest

from triptych.catalogue.changes import changes, observed
from triptych.catalogue.errors import CatalogueError

SOURCES = """
[[sources]]
id = "later"
publisher = "Lists"
title = "A list"
kind = "list"
date = 2026-09-01
seen = 2026-11-01
"""
PRICES = """
claims = [
  {on = "p/m", field = "status", value = "deprecated", since = 2026-10-01, source = "later"},
]
prices = [
  {route = "p/m", source = "list", input = "1.00"},
  {route = "p/m", source = "later", input = "2.00", output = "3.00", until = 2026-10-31},
]
"""


def kinds(found):
    return [(each.kind, each.unit, each.before, each.after) for each in found]


def test_prices_and_statuses_that_changed(written):
    catalogue = written(PRICES, SOURCES)
    day = date(2026, 7, 1)
    assert kinds(changes(catalogue, day, day)) == []
    assert kinds(changes(catalogue, date(2026, 6, 1), day)) == [("new price", "input", None, 10**9)]
    found = changes(catalogue, day, date(2026, 9, 1))
    assert kinds(found) == [("price", "input", 10**9, 2 * 10**9), ("new price", "output", None, 3 * 10**9)]
    assert {each.source for each in found} == {"later"}
    assert kinds(changes(catalogue, date(2026, 9, 1), date(2026, 10, 1))) == [("status", None, "live", "deprecated")]
    ended = kinds(changes(catalogue, date(2026, 10, 31), date(2026, 11, 1)))
    assert ended == [("price", "input", 2 * 10**9, 10**9), ("no longer priced", "output", 3 * 10**9, None)]


def test_a_route_that_was_not_known_before_was_not_live_before(catalogue):
    found = [each for each in changes(catalogue, date(2026, 11, 1), date(2026, 11, 26)) if each.kind == "status"]
    announced = [each for each in found if each.route.id == "gigarouter/llava-1.5-7b"]
    assert [(each.before, each.after) for each in announced] == [(None, "announced")]
    assert not [each for each in found if each.after == "live"]


def test_what_became_known(written):
    catalogue = written(PRICES, SOURCES)
    assert [each.source for each in observed(catalogue, date(2026, 6, 30), date(2026, 7, 1))] == ["list"]
    assert [each.source for each in observed(catalogue, date(2026, 7, 1), date(2026, 9, 1))] == ["later"]
    assert observed(catalogue, date(2026, 9, 1), date(2026, 12, 1)) == []


def test_days_in_the_wrong_order(written):
    with pytest.raises(CatalogueError, match="is after until"):
        changes(written(PRICES, SOURCES), date(2026, 2, 1), date(2026, 1, 1))
