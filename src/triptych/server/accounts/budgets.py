"""What a key may still spend. A request reserves the most that it can cost before anything is computed, and settles
for what it did cost.

A server spends out of grants that the store gives it (`store/budgets`), so that most requests touch no database and any
number of servers never spend more than the limit together.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from typing import Literal

from ..store import budgets as statements
from ..store.ids import now_us
from ..store.store import Store, StoreError
from ..store.usage import DAY_US
from .caller import Caller
from .cost import usd
from .errors import BudgetError

log = logging.getLogger("triptych.server")

Period = Literal["day", "week", "month", "total"]
PERIODS: tuple[Period, ...] = ("day", "week", "month", "total")
# A server that has not said for so long that it lives loses its grants, in seconds.
_LEASE = 60.0
_KEEP_EVERY = 5.0
# A grant is at least this part of a limit, so that few requests wait for the store.
_PART = 64
_MONDAY = 4  # the first one of 1970 was day 4


@dataclass(slots=True)
class Purse:
    """What this server holds of a key's budget for one period, in nano-dollars. What is `settled` is not taken off the
    store's `granted` yet; `open` are reservations under way. `unclaimed` is what nobody had spent or held when the
    store was last `asked`.
    """

    granted: int = 0
    unclaimed: int = 0
    reserved: int = 0
    settled: int = 0
    open: int = 0
    asked: bool = False
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def free(self) -> int:
        return self.granted - self.reserved - self.settled


@dataclass(slots=True)
class Reservation:
    """`nano` nano-dollars of a purse, until `settle` or `tighten`."""

    purse: Purse
    day: int
    nano: int
    over: bool = False

    @property
    def scarce(self) -> bool:
        """Whether another like it might lack what this one holds."""
        return self.purse.free < self.nano

    def tighten(self, nano: int) -> None:
        """It can cost no more than this after all."""
        if not self.over and nano < self.nano:
            self.purse.reserved -= self.nano - nano
            self.nano = nano

    def settle(self, nano: int) -> None:
        """It did cost this. A second call changes nothing."""
        if not self.over:
            self.over = True
            self.purse.reserved -= self.nano
            self.purse.open -= 1
            self.purse.settled += nano


class Budgets:
    """The purses of this `server` (a name that is new at every start)."""

    def __init__(self, store: Store, server: str) -> None:
        self._store = store
        self._server = server
        self._purses: defaultdict[tuple[str, int], Purse] = defaultdict(Purse)
        self._latest_us = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to say that the server lives. What a dead one held comes back first. Raises StoreError."""
        if self._store.alone:
            await self._store.write(statements.forget)
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Give everything back."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        with suppress(StoreError):
            await self._store.write(partial(statements.forget, servers=[self._server]))

    def _now(self) -> int:
        """The time, which never goes back: a clock that was set back opens no budget again."""
        self._latest_us = max(self._latest_us, now_us())
        return self._latest_us

    async def reserve(self, caller: Caller, nano: int) -> Reservation | None:
        """Set `nano` nano-dollars aside; None for a key without a budget. Raises BudgetError, StoreError."""
        limit = caller.limits.spend_nano
        if limit is None:
            return None
        now = self._now()
        day = period_day(caller.limits.spend_per, now)
        purse = self._purses[caller.id, day]
        if purse.free < nano:
            async with purse.asking:  # one asks for all who wait
                if purse.free < nano:
                    await self._ask(caller, purse, day, limit, nano, now)
        if purse.free < nano:
            raise _exhausted(caller, purse, limit, nano, now)
        purse.reserved += nano
        purse.open += 1
        return Reservation(purse, day, nano)

    async def _ask(self, caller: Caller, purse: Purse, day: int, limit: int, nano: int, now: int) -> None:
        need = nano - purse.free
        given, purse.unclaimed = await self._store.write(
            partial(
                statements.grant, owner=caller.id, day=day, server=self._server, limit=limit, need=need,
                wish=max(need, limit // _PART), now_us=now, until_us=now + round(_LEASE * 1e6),
            )
        )  # fmt: skip
        purse.granted += given
        purse.asked = True

    def headers(self, caller: Caller) -> dict[str, str]:
        """The budget and what is left of it, in dollars, as this server knows it."""
        limit = caller.limits.spend_nano
        if limit is None:
            return {}
        now, per = self._now(), caller.limits.spend_per
        found = {"x-triptych-budget-limit": usd(limit), "x-triptych-budget-period": per}
        purse = self._purses.get((caller.id, period_day(per, now)))
        if purse is not None and purse.asked:
            found["x-triptych-budget-remaining"] = usd(max(0, purse.unclaimed + purse.free))
        return found

    async def left(self, caller: Caller) -> int | None:
        """Nano-dollars that are neither spent nor reserved, here or elsewhere; None without a budget. Raises
        StoreError.
        """
        limit = caller.limits.spend_nano
        if limit is None:
            return None
        day = period_day(caller.limits.spend_per, self._now())
        purse = self._purses.get((caller.id, day), Purse())
        taken = await self._store.read(partial(statements.taken, owner=caller.id, day=day))
        return limit - taken + purse.free

    def flushed(self, amounts: Mapping[tuple[str, int], int]) -> None:
        """Settled amounts by key and day are in the store's usage now, and off its grants."""
        for place, nano in amounts.items():
            purse = self._purses[place]
            purse.settled -= nano
            purse.granted -= nano

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_EVERY)
            try:
                await self.keep()
            except StoreError as error:
                log.warning("budgets cannot be kept up: %s", error)

    async def keep(self) -> None:
        """Say that the server lives, and give back what no request needs. Raises StoreError."""
        idle = {place: purse.free for place, purse in self._purses.items() if not purse.open and purse.free > 0}
        for place, nano in idle.items():
            self._purses[place].granted -= nano
            self._purses[place].unclaimed += nano
        until = self._now() + round(_LEASE * 1e6)
        try:
            await self._store.write(partial(statements.renew, server=self._server, until_us=until, idle=idle))
        except StoreError:
            for place, nano in idle.items():
                self._purses[place].granted += nano
                self._purses[place].unclaimed -= nano
            raise
        for place in [place for place, purse in self._purses.items() if not (purse.granted or purse.open)]:
            if not self._purses[place].asking.locked():
                del self._purses[place]


def _exhausted(caller: Caller, purse: Purse, limit: int, nano: int, now: int) -> BudgetError:
    per, left = caller.limits.spend_per, max(0, purse.unclaimed + purse.free)
    ends = period_end(per, now)
    when = f"; the next {per} begins at {_moment(ends)}" if ends is not None else ""
    message = (
        f"this request can cost up to ${usd(nano)}, and ${usd(left)} are left of this key's budget of "
        f"${usd(limit)}{'' if per == 'total' else f' per {per}'}{when}"
    )
    return BudgetError(message, None if ends is None else max(1.0, (ends - now) / 1e6))


def period_day(per: str, at_us: int) -> int:
    """The day, since 1970, on which the period of a moment begins. All in UTC; weeks begin on Mondays."""
    return _first_day(per, at_us // DAY_US)


@lru_cache(maxsize=64)
def _first_day(per: str, day: int) -> int:
    if per == "day":
        return day
    if per == "week":
        return day - (day - _MONDAY) % 7
    if per == "month":
        return ((date(1970, 1, 1) + timedelta(days=day)).replace(day=1) - date(1970, 1, 1)).days
    return 0


def period_end(per: str, at_us: int) -> int | None:
    """When the next period begins, in microseconds since 1970; None if none does."""
    if per == "total":
        return None
    first = period_day(per, at_us)
    if per == "month":
        somewhere_in_next = date(1970, 1, 1) + timedelta(days=first + 32)
        return (somewhere_in_next.replace(day=1) - date(1970, 1, 1)).days * DAY_US
    return (first + (7 if per == "week" else 1)) * DAY_US


def _moment(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC):%Y-%m-%d %H:%M} UTC"
