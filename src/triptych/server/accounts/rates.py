"""How often a key may ask, and how many tokens a minute it may use: token buckets, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..store.keys import Limits
from .caller import Caller
from .errors import RateLimitError

_MINUTE = 60.0


@dataclass(slots=True)
class Bucket:
    """Holds up to `most` of `what`, and fills up in a minute. It may owe: tokens are counted when they are used."""

    what: str
    most: int
    level: float
    at: float

    def fill(self, now: float) -> None:
        """Time that goes backwards fills nothing."""
        if now > self.at:
            self.level = min(self.most, self.level + (now - self.at) * self.most / _MINUTE)
        self.at = now

    def wait(self, need: float) -> float:
        """Seconds until `need` is there."""
        return max(0.0, (need - self.level) * _MINUTE / self.most)

    def headers(self) -> dict[str, str]:
        return {
            f"x-ratelimit-limit-{self.what}": str(self.most),
            f"x-ratelimit-remaining-{self.what}": str(max(0, int(self.level))),
            f"x-ratelimit-reset-{self.what}": f"{self.wait(self.most):.3f}s",
        }


@dataclass(frozen=True, slots=True)
class _Held:
    """The buckets of a key, as these limits want them."""

    limits: Limits
    requests: Bucket | None
    tokens: Bucket | None

    @property
    def buckets(self) -> list[Bucket]:
        return [bucket for bucket in (self.requests, self.tokens) if bucket is not None]


_NONE = _Held(Limits(), None, None)


class Rates:
    """The buckets of all keys that have a rate. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}

    def _of(self, caller: Caller) -> _Held | None:
        """The caller's buckets, filled up to now; None for a key without a rate."""
        limits = caller.limits
        if limits.requests_per_minute is None and limits.tokens_per_minute is None:
            return None
        held, now = self._held.get(caller.id, _NONE), self._clock()
        if held.limits != limits:
            held = self._held[caller.id] = _Held(
                limits,
                _bucket("requests", limits.requests_per_minute, held.requests, now),
                _bucket("tokens", limits.tokens_per_minute, held.tokens, now),
            )
        for bucket in held.buckets:
            bucket.fill(now)
        return held

    def admit(self, caller: Caller) -> None:
        """One more request. Raises RateLimitError."""
        held = self._of(caller)
        if held is None:
            return
        for bucket in held.buckets:
            if bucket.level < 1:
                seconds = bucket.wait(1)
                told = f"this key may use {bucket.most} {bucket.what} per minute, and they are used up"
                raise RateLimitError(f"{told}; try again in {seconds:.1f} s", seconds)
        if held.requests is not None:
            held.requests.level -= 1

    def used(self, caller: Caller, tokens: int) -> None:
        """A request used this many tokens."""
        held = self._of(caller)
        if held is not None and held.tokens is not None:
            held.tokens.level -= tokens

    def headers(self, caller: Caller) -> dict[str, str]:
        """What the key may do, what is left of it, and when it is whole again: as OpenAI's clients read it."""
        held = self._of(caller)
        found: dict[str, str] = {}
        for bucket in [] if held is None else held.buckets:
            found |= bucket.headers()
        return found


def _bucket(what: str, most: int | None, before: Bucket | None, now: float) -> Bucket | None:
    """The one from before while its size stays, else a full one."""
    if most is None or (before is not None and before.most == most):
        return None if most is None else before
    return Bucket(what, most, most, now)
