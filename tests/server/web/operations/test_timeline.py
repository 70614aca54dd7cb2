"""Where the time of a prediction went, told of its record."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.server.store.predictions import PredictionRecord
from triptych.server.web.operations.timeline import WIDTH, bars, spans

NOW = 1_700_000_000_000_000


def record(status: str = "succeeded", **values: Any) -> PredictionRecord:
    """Times are in microseconds after `NOW`."""
    times = {name: NOW + value for name, value in values.items() if name != "cold_us" and value is not None}
    return PredictionRecord(
        id="1", owner="", dialect="replicate", model="m", generation="", created_us=NOW, stream_token="", status=status,
        cold_us=values.get("cold_us", 0), **times,
    )  # fmt: skip


def told(found: PredictionRecord, now_us: int = 0) -> list[tuple[str, int]]:
    return [(span.kind, span.end_us - span.start_us) for span in spans(found, NOW + now_us)]


def test_a_whole_prediction() -> None:
    whole = record(started_us=5_000_000, cold_us=3_000_000, first_token_us=5_500_000, completed_us=7_500_000)
    parts = [("queue", 2_000_000), ("cold", 3_000_000), ("prefill", 500_000), ("decode", 2_000_000)]
    assert told(whole) == parts
    assert not any(span.going_on for span in spans(whole, NOW))
    assert [bar.x for bar in bars(spans(whole, NOW))] == [0, 267, 667, 733]


def test_one_that_is_still_at_it_ends_now() -> None:
    assert told(record("starting"), 4) == [("queue", 4)]
    under_way = record("processing", started_us=10, first_token_us=30)
    assert told(under_way, 100) == [("queue", 10), ("prefill", 20), ("decode", 70)]
    assert [span.going_on for span in spans(under_way, NOW + 100)] == [False, False, True]


def test_one_that_ended_before_it_began() -> None:
    assert told(record("failed", completed_us=0)) == []
    assert bars([]) == []
    assert told(record("canceled", completed_us=9)) == [("queue", 9)]
    assert told(record("failed", started_us=4, completed_us=9)) == [("queue", 4), ("prefill", 5)]


def test_a_start_that_took_longer_than_the_wait_for_it_is_no_longer_than_the_wait() -> None:
    assert told(record(started_us=10, cold_us=500, completed_us=10)) == [("cold", 10)]


@given(
    st.fixed_dictionaries({
        name: st.integers(-1000, 1000) if name != "cold_us" else st.integers(0, 1000)
        for name in ("started_us", "first_token_us", "completed_us", "cold_us")
    }),
    st.integers(-1000, 1000),
)  # fmt: skip
def test_clocks_that_contradict_each_other_give_no_time_below_nothing(times: dict[str, int], now: int) -> None:
    found = spans(record(**times), NOW + now)
    assert all(span.end_us > span.start_us for span in found)
    assert [span.start_us for span in found[1:]] == [span.end_us for span in found[:-1]]
    for bar in bars(found):
        assert bar.x >= 0
        assert bar.x + bar.width <= WIDTH
        assert bar.width > 0


@pytest.mark.parametrize("times", [(1, 10_000_000), (10_000_000, 10_000_001)])
def test_a_short_part_can_be_seen(times: tuple[int, int]) -> None:
    started, completed = times
    shown = bars(spans(record(started_us=started, completed_us=completed), NOW))
    assert min(bar.width for bar in shown) >= 4
