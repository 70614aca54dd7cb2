"""What a caller says in headers about a new prediction: how long to wait for it, and when to give it up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import ProblemError

# Seconds. Clients give up half a second behind what they asked for; one of them at a minute, whatever it asked for,
# and then asks again.
_MOST, _EARLIER, _LONGEST_HOLD = 60.0, 0.25, 58.0
_SHORTEST_DEADLINE, _LONGEST_DEADLINE = 5, 999_999_999
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Wait:
    """A create is answered when the prediction has ended, at the latest after `hold` seconds; `applied` is what is said
    of that.
    """

    hold: float
    applied: str


def read_prefer(header: str) -> Wait | None:
    """`wait` or `wait=n` among preferences; n is brought into 1 to 60, and what cannot be read is ignored."""
    for preference in header.split(","):
        name, _, value = preference.partition(";")[0].strip().partition("=")
        if name.strip().lower() != "wait":
            continue
        value = value.strip().strip('"')
        if not value:
            return Wait(_LONGEST_HOLD, "wait")
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            seconds = min(_MOST, max(1.0, float(value)))
            return Wait(min(_LONGEST_HOLD, seconds - _EARLIER), f"wait={seconds:g}")
    return None


def read_cancel_after(header: str | None) -> float | None:
    """Seconds: `90`, `30s`, `5m`, `1h30m45s`. Raises ProblemError."""
    if header is None:
        return None
    found = _DURATION.fullmatch(header.strip().lower())
    if found is None or not any(found.groups()) or len(header) > 3 * _MOST_DIGITS:
        raise ProblemError(422, "Cancel-After must be a number of seconds, or a time such as 1h30m45s.")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    lasts = hours * 3600 + minutes * 60 + seconds
    if not _SHORTEST_DEADLINE <= lasts <= _LONGEST_DEADLINE:
        raise ProblemError(422, f"Cancel-After must be {_SHORTEST_DEADLINE} to {_LONGEST_DEADLINE} seconds.")
    return float(lasts)
