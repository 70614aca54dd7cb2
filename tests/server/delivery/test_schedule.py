"""When messages are tried again, and how fast receivers are told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from triptych.server.delivery.receivers import Receiver
from triptych.server.delivery.schedule import COMPLETED, PROGRESS, delay, retry_after

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_the_schedule_is_ten_tries_in_three_days_and_more() -> None:
    waits = [delay(COMPLETED, tries, draw=lambda: 0.0) for tries in range(1, 11)]
    assert waits == [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400, None]
    assert [delay(PROGRESS, tries, draw=lambda: 0.0) for tries in (1, 2, 3)] == [1, 5, None]


def test_what_failed_together_does_not_come_back_together() -> None:
    waits = {delay(COMPLETED, 2) for _ in range(50)}
    assert len(waits) > 40
    assert all(300 <= wait <= 360 for wait in waits if wait)


def test_a_receiver_may_ask_for_more_patience_and_not_for_less() -> None:
    assert delay(COMPLETED, 1, 60.0, lambda: 0.0) == 60
    assert delay(COMPLETED, 2, 60.0, lambda: 0.0) == 300


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120), (" 7 ", 7), ("0", 0), ("", 0), ("-5", 0), ("soon", 0), ("1.5", 0), ("٣", 0), ("9" * 400, 86_400),
        ("Fri, 02 Jan 2026 03:05:05 GMT", 60), ("Fri, 02 Jan 2026 03:05:05", 60),
        ("Fri, 02 Jan 2026 05:04:35 +0200", 30),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 0), ("Fri, 01 Jan 2999 00:00:00 GMT", 86_400),
    ],
)  # fmt: skip
def test_retry_after(header: str, seconds: float) -> None:
    assert retry_after(header, NOW) == seconds


def test_a_receiver_in_trouble_gets_one_message_at_a_time_with_pauses() -> None:
    receiver = Receiver(most=8)
    assert receiver.room(0) == 8
    receiver.running = 3
    assert receiver.room(0) == 5
    receiver.failed(0, asked=0)
    assert receiver.room(999_999) == 0
    receiver.running = 0
    assert receiver.room(1_000_000) == 1
    receiver.failed(1_000_000, asked=0)
    assert (receiver.room(2_999_999), receiver.room(3_000_000)) == (0, 1)
    receiver.failed(3_000_000, asked=30)
    assert receiver.room(32_000_000) == 0
    for _ in range(100):
        receiver.failed(40_000_000, asked=1e9)
    assert receiver.room(99_999_999) == 0
    assert receiver.room(100_000_000) == 1  # a minute at the most: others may wait for the same host
    assert not receiver.idle(100_000_000)
    receiver.answered()
    assert receiver.room(40_000_000) == 8
    assert receiver.idle(40_000_000)
