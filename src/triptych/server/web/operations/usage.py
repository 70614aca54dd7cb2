"""The page about usage: what was spent and read and written, by day, model, key and API."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from markupsafe import Markup

from ...accounts.cost import usd
from ...accounts.keyring import Keyring
from ...accounts.meter import Meter
from ...exchange import Answer, Exchange
from ...service import Service
from ...store.ids import now_us
from ...store.usage import DAY_US
from ...store.usage_sums import Total
from ..charts import columns
from ..measures import api, dollars, number
from ..page_routes import PageError
from ..pages import GUARDS, shown
from .bill import Bill
from .who import caller_of

PATH = "/app/usage"
CSV = PATH + ".csv"
PERIODS = (7, 30, 90, 365)
BY = {"model": "Model", "key": "Key", "dialect": "API"}
# Requests that are shown one by one.
_LATEST = 15
_MOST_COLUMNS = 100
# Colours of a chart but one, which is for all others together.
_MOST_SERIES = 7
_OTHERS = "all others"
_CALLED = {"model": "model", "key": "owner", "dialect": "dialect"}
_COLUMNS = (
    "day", "key", "model", "api", "requests", "prompt_tokens", "cached_tokens", "image_tokens", "completion_tokens",
    "images", "captions", "engine_seconds", "cost_usd",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days in UTC, both included, as days since 1970."""

    first: int
    last: int

    @classmethod
    def asked(cls, query: Mapping[str, str]) -> Period:
        """The last days, as many as the query says, today with them. Raises PageError."""
        text = query.get("days", "") or "30"
        if text not in map(str, PERIODS):
            raise PageError(f"A period has {', '.join(map(str, PERIODS))} days.", 400, "No such period")
        today = now_us() // DAY_US
        return cls(today - int(text) + 1, today)

    @property
    def days(self) -> int:
        return self.last - self.first + 1

    @property
    def step(self) -> int:
        """Days that a column of a chart stands for."""
        return 7 if self.days > _MOST_COLUMNS else 1

    @property
    def columns(self) -> range:
        """The first day of each column."""
        return range(self.first, self.last + 1, self.step)

    def column(self, day: int) -> int:
        return (day - self.first) // self.step

    def titled(self, what: str) -> str:
        return f"{what} by {'day' if self.step == 1 else 'week'}"


@dataclass(frozen=True, slots=True)
class UsagePages:
    """The handlers."""

    meter: Meter
    keyring: Keyring

    async def show(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Charts and tables of the caller's usage, of everybody's for admins."""
        caller, query = caller_of(exchange), exchange.query
        period, by = Period.asked(query), query.get("by", "") or "model"
        if by not in BY:
            raise PageError(f"Usage is told by {', '.join(BY)}.", 400, "No such order")
        owner = self._owner(exchange)
        daily = await self._totals(("day", _CALLED[by]), owner, period)
        groups = {name: await self._totals((_CALLED[name],), owner, period) for name in BY}
        whole, latest = added(daily), await self.meter.page(owner, None, _LATEST)
        return shown(
            exchange, "operations/usage.html", section="usage", whole=whole, by=by, orders=BY, periods=PERIODS,
            days=period.days, spend=_spend(daily, by, period, self._name) if whole.cost_nano else None,
            tokens=_tokens(daily, period), tables=[
                (BY[name], sorted(
                    ((self._name(name, each.group[0]), each) for each in rows),
                    key=lambda row: (-row[1].cost_nano, -row[1].requests),
                )) for name, rows in groups.items() if name != "key" or caller.admin
            ], latest=[(each, self.keyring.name(each.owner), Bill.of(each)) for each in latest],
            key=query.get("key", ""), admin=caller.admin,
            named=self.keyring.name(owner) if owner is not None and caller.admin else None,
        )  # fmt: skip

    async def table(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """The same as CSV: a row for each day, key, model and API."""
        period = Period.asked(exchange.query)
        rows = await self._totals(("day", "owner", "model", "dialect"), self._owner(exchange), period)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(_COLUMNS)
        for row in rows:
            day, owner, model, dialect = row.group
            writer.writerow([
                _date(day).isoformat(), _cell(self.keyring.name(owner)), _cell(model), dialect, row.requests,
                row.prompt_tokens, row.cached_tokens, row.image_tokens, row.completion_tokens, row.images, row.captions,
                f"{row.seconds_us / 1e6:.6f}", usd(row.cost_nano),
            ])  # fmt: skip
        name = f"usage-{_date(period.first)}-to-{_date(period.last)}.csv"
        told = {**GUARDS, "content-disposition": f'attachment; filename="{name}"'}
        return Answer(text.getvalue().encode(), 200, "text/csv; charset=utf-8", told)

    def _owner(self, exchange: Exchange) -> str | None:
        """Whose usage is shown: an admin may choose a key."""
        caller = caller_of(exchange)
        return (exchange.query.get("key") or None) if caller.admin else caller.id

    async def _totals(self, by: Sequence[str], owner: str | None, period: Period) -> list[Total]:
        return await self.meter.totals(by, owner, period.first, period.last)

    def _name(self, by: str, value: str) -> str:
        if by == "key":
            return self.keyring.name(value)
        return api(value) if by == "dialect" else value


def added(totals: Sequence[Total]) -> Total:
    """All of them together."""
    return Total((), *(sum(getattr(each, name) for each in totals) for name in _NUMBERS))


_NUMBERS = tuple(name for name in Total.__struct_fields__ if name != "group")


def _spend(daily: Sequence[Total], by: str, period: Period, name: Callable[[str, str], str]) -> Markup:
    """Dollars by day, stacked by model, key or API: the dearest ones, and all others together."""
    spent: defaultdict[str, int] = defaultdict(int)
    for each in daily:
        spent[each.group[1]] += each.cost_nano
    dearest = sorted((value for value in spent if spent[value]), key=lambda value: -spent[value])[:_MOST_SERIES]
    series: dict[str, list[float]] = {name(by, value): [0.0] * len(period.columns) for value in dearest}
    for each in daily:
        day, value = each.group
        if each.cost_nano:
            named = name(by, value) if value in dearest else _OTHERS
            line = series.setdefault(named, [0.0] * len(period.columns))
            line[period.column(day)] += each.cost_nano
    return columns(period.titled("Spend"), _labels(period), series, show=lambda nano: dollars(round(nano)))


def _tokens(daily: Sequence[Total], period: Period) -> Markup:
    """Tokens by day: computed, taken from the cache, written."""
    kinds: dict[str, Callable[[Total], int]] = {
        "read": lambda each: each.prompt_tokens - each.cached_tokens,
        "read from the cache": lambda each: each.cached_tokens,
        "written": lambda each: each.completion_tokens,
    }  # fmt: skip
    series = {name: [0.0] * len(period.columns) for name in kinds}
    for each in daily:
        for name, of in kinds.items():
            series[name][period.column(each.group[0])] += of(each)
    return columns(period.titled("Tokens"), _labels(period), series, show=_short)


def _short(count: float) -> str:
    """A count that fits beside an axis."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return number(count)


def _labels(period: Period) -> list[str]:
    return [f"{_date(day):%-d %b}" for day in period.columns]


def _date(day: int) -> date:
    return datetime.fromtimestamp(0, UTC).date() + timedelta(days=day)


def _cell(text: str) -> str:
    """A name for a spreadsheet, which takes some beginnings for a formula to compute."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
