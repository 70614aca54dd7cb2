"""How often a key may ask, and how many tokens a minute it may use: token buckets, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .caller import Caller
from .errors import RateLimitError

_MINUTE = 60.0


@dataclass(slots=True)
class Bucket:
    """Holds up to `most`, and fills up in a minute. It may owe: tokens are counted when they are used."""

    most: int
    level: float
    at: float

    def fill(self, now: float) -> None:
        """Time that goes backwards fills nothing."""
        self.level = min(self.most, self.level + max(0.0, now - self.at) * self.most / _MINUTE)
        self.at = now

    def wait(self, need: float) -> float:
        """Seconds until `need` is there."""
        return max(0.0, (need - self.level) * _MINUTE / self.most)


class Rates:
    """The buckets of all keys that have a rate. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def _bucket(self, caller: Caller, what: str, most: int) -> Bucket:
        now = self._clock()
        bucket = self._buckets.get((caller.id, what))
        if bucket is None or bucket.most != most:
            bucket = self._buckets[caller.id, what] = Bucket(most, most, now)
        bucket.fill(now)
        return bucket

    def _limits(self, caller: Caller) -> list[tuple[str, Bucket]]:
        limits = caller.limits
        if limits.requests_per_minute is None and limits.tokens_per_minute is None:
            return []
        found = (("requests", limits.requests_per_minute), ("tokens", limits.tokens_per_minute))
        return [(what, self._bucket(caller, what, most)) for what, most in found if most is not None]

    def admit(self, caller: Caller) -> None:
        """One more request. Raises RateLimitError."""
        limits = self._limits(caller)
        for what, bucket in limits:
            if bucket.level < 1:
                seconds = bucket.wait(1)
                told = f"this key may use {bucket.most} {what} per minute, and they are used up"
                raise RateLimitError(f"{told}; try again in {seconds:.1f} s", seconds)
        for what, bucket in limits:
            if what == "requests":
                bucket.level -= 1

    def used(self, caller: Caller, tokens: int) -> None:
        """A request used this many tokens."""
        if (most := caller.limits.tokens_per_minute) is not None:
            self._bucket(caller, "tokens", most).level -= tokens

    def headers(self, caller: Caller) -> dict[str, str]:
        """What the key may do, what is left of it, and when it is whole again: as OpenAI's clients read it."""
        found: dict[str, str] = {}
        for what, bucket in self._limits(caller):
            found |= {
                f"x-ratelimit-limit-{what}": str(bucket.most),
                f"x-ratelimit-remaining-{what}": str(max(0, int(bucket.level))),
                f"x-ratelimit-reset-{what}": f"{bucket.wait(bucket.most):.3f}s",
            }
        return found
