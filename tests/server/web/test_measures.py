"""Times, lengths, sizes and money as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.server.web.measures import dollars, duration, moment, number, since, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (0.0000012, "0.0012 ms"), (0.0123, "12.3 ms"), (0.25, "250 ms"), (0.9996, "1.00 s"),
        (3.4159, "3.42 s"), (12.34, "12.3 s"), (59.96, "1 min"), (250, "4 min 10 s"), (3600, "1 h"),
        (3725, "1 h 2 min"), (90_000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (4_100_000_000, "4.1 GB"), (999_900_000, "1000 MB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"), (1, "$0.000000001"), (12_345, "$0.0000123"), (10_000_000, "$0.01"), (123_456_789, "$0.123"),
        (999_999_999, "$1.00"), (1_000_000_000, "$1.00"), (1_234_567_890_000, "$1,234.57"), (-500_000_000, "-$0.50"),
    ],
)  # fmt: skip
def test_money(nano: int, text: str) -> None:
    assert dollars(nano) == text


@given(st.integers(1, 10**16))
def test_money_is_right_to_three_digits_or_to_the_cent(nano: int) -> None:
    shown = float(dollars(nano).lstrip("$").replace(",", "")) * 1e9
    assert abs(shown - nano) <= max(nano * 0.00501, 0) or abs(shown - nano) <= 5_000_001


def test_a_time_is_told_in_utc_to_those_without_scripts() -> None:
    assert moment(1_700_000_000_123_456) == (
        '<time datetime="2023-11-14T22:13:20.123Z" data-form="ago">2023-11-14 22:13:20 UTC</time>'
    )
    assert since(1_700_000_000_000_000).startswith("since <time")
    assert "time" not in moment(None)
    assert number(1234567.4) == "1,234,567"
