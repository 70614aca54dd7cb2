"""When a message is tried again. Arithmetic only; times are in seconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Before the second try of a message and each further one: 10 tries in three days, as Standard Webhooks proposes.
COMPLETED = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
# Of what is told on the way: it is soon of no interest.
PROGRESS = (1.0, 5.0)
# Of a task that ended: soon at first, as its callers know it, then for as long as a receiver may be away for a night.
TASK = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 60.0, 600.0, 3600.0, 21_600.0)
# Of content that is put somewhere: such URLs soon expire.
UPLOAD = (1.0, 5.0, 30.0)
# What failed together shall not come back together.
_JITTER = 0.2
# A receiver may ask for more patience than the schedule has, up to this.
_LONGEST_ASKED = 86_400.0


def delay(
    schedule: tuple[float, ...], tries: int, asked: float = 0.0, draw: Callable[[], float] = random.random
) -> float | None:
    """How long to wait after `tries` tries, the first included; None: not again. `asked` is what the receiver asked
    for; `draw` gives a number from 0 to 1.
    """
    if tries > len(schedule):
        return None
    return max(schedule[tries - 1], asked) * (1 + _JITTER * draw())


def retry_after(header: str, now: datetime | None = None) -> float:
    """The seconds that a header Retry-After asks for, as a number or a date; 0 if it asks for nothing."""
    text = header.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:12]), _LONGEST_ASKED)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, (date - (now or datetime.now(UTC))).total_seconds()), _LONGEST_ASKED)
