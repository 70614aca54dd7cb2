"""Dollars as text and whole nano-dollars, against decimal."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.catalogue.money import NANO, parse_usd, rounded, usd
from triptych.catalogue.units import UNITS, read_price


@given(st.decimals(min_value=0, max_value=10**9, places=9))
def test_reading_is_exact_and_writing_brings_it_back(amount):
    nano = parse_usd(f"{amount:f}")
    assert nano == amount * NANO
    assert Decimal(usd(nano)) == amount
    assert parse_usd(usd(nano)) == nano


@pytest.mark.parametrize(
    ("nano", "text"), [(0, "0.00"), (1_900_000, "0.0019"), (50_000_000, "0.05"), (10**9, "1.00"), (-1, "-0.000000001")]
)
def test_how_it_is_written(nano, text):
    assert usd(nano) == text


@pytest.mark.parametrize(
    "text", ["-1", "1e3", "", "1,5", ".5", "5.", "NaN", "Infinity", " 1", "0.0000000001", "0x1", "١", "1" * 13]
)
def test_what_is_no_price(text):
    with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
        parse_usd(text)


@given(st.fractions(min_value=0, max_value=10**12))
def test_halves_go_up(amount):
    expected = (Decimal(amount.numerator) / Decimal(amount.denominator)).quantize(Decimal(1), ROUND_HALF_UP)
    near_half = abs(amount - int(amount) - Fraction(1, 2)) < Fraction(1, 10**12)
    assert rounded(amount) == int(expected) or near_half
    assert abs(rounded(amount) - amount) <= Fraction(1, 2)


def test_halves_exactly():
    assert [rounded(Fraction(number, 2)) for number in (1, 3, 5)] == [1, 2, 3]


@pytest.mark.parametrize("unit", UNITS)
def test_each_unit_has_a_price_that_is_absurd(unit):
    assert read_price(unit, usd(UNITS[unit].most)) == UNITS[unit].most
    with pytest.raises(ValueError, match="absurd"):
        read_price(unit, usd(UNITS[unit].most + 1))
