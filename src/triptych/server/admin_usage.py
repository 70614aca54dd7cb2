"""What was used and what it cost: for administrators of everybody, for a key of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date as Day
from datetime import timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from .accounts.cost import Price, from_json, lines, usd, usd_float
from .accounts.cost import Quantities as Used
from .accounts.meter import Meter
from .asked import page_size, seconds, stored_id
from .dialects.openai.errors import invalid
from .dialects.openai.form import to_json
from .exchange import Answer, Exchange
from .service import Service
from .store.ids import now_us
from .store.usage import DAY_US, UsageRecord
from .store.usage_sums import Total

_EPOCH = Day(1970, 1, 1)
GROUPS = ("day", "key", "model", "dialect")
_COLUMN = {"key": "owner"}
_COUNTED = ("prompt_tokens", "cached_tokens", "image_tokens", "completion_tokens", "images", "captions")
_DEFAULT_DAYS = 30
_MOST_DAYS = 3_700
_MOST_ROWS = 10_000


class Counts(msgspec.Struct, kw_only=True):
    """What was used, and what it cost."""

    prompt_tokens: int
    cached_tokens: int
    image_tokens: int
    completion_tokens: int
    images: int
    captions: int
    seconds: Annotated[float, Meta(description="That models worked.")]
    cost: Annotated[float, Meta(description="Dollars.")]


class UsageGroup(Counts, kw_only=True, omit_defaults=True):
    """What was used by one group; only the fields that it is grouped by are there."""

    requests: int
    day: str = ""
    key: Annotated[str, Meta(description="The id of a key.")] = ""
    key_name: str = ""
    model: str = ""
    dialect: str = ""


class UsageGroups(msgspec.Struct):
    since: str
    until: str
    groups: list[UsageGroup]
    total: UsageGroup


class UsageRow(Counts, kw_only=True):
    """One generation. Its cost can be computed again from what was used and the price that was applied."""

    id: str
    request_id: str
    key: str
    key_name: str
    dialect: str
    model: str
    called: Annotated[str, Meta(description="The name that was asked for: what it was priced as.")]
    reason: Annotated[str, Meta(description="How it ended: stop, length, abort, error.")]
    created_at: float
    calls: int
    price: Annotated[str, Meta(description="Where the price is from.")]
    bill: Annotated[list[str], Meta(description="Line by line.")]


class UsageRows(msgspec.Struct):
    usage: list[UsageRow]
    more: Annotated[bool, Meta(description="Whether there are older ones.")]


@dataclass(frozen=True, slots=True)
class UsageOrders:
    """The handlers."""

    meter: Meter

    async def groups(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """What was used and what it cost, by day, key, model or dialect. A key sees its own, an administrator's all."""
        asked = Asked.of(exchange.query)
        caller = exchange.caller
        assert caller is not None
        name = service.accounts.keyring.name
        found = await self.meter.totals(asked.columns, caller.sees, asked.first, asked.last)
        if len(found) > _MOST_ROWS:
            raise invalid("by", f"These are {len(found)} groups; ask for fewer days, or by fewer things.")
        whole = await self.meter.totals((), caller.sees, asked.first, asked.last)
        told = {
            "since": day_text(asked.first), "until": day_text(asked.last),
            "groups": [_group(each, asked.by, name) for each in found],
            "total": _group(whole[0], (), name),
        }  # fmt: skip
        return Answer(to_json(told))

    async def rows(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Every generation with what it used, the price applied and the bill, the newest first."""
        caller, limit = exchange.caller, page_size(exchange.query)
        assert caller is not None
        before, model = stored_id(exchange.query, "before"), exchange.query.get("model") or None
        days = _days(exchange.query) if exchange.query.get("since") or exchange.query.get("until") else None
        found = await self.meter.page(caller.sees, before, limit + 1, model, days)
        name = service.accounts.keyring.name
        shown = [describe_usage(row, name(row.owner)) for row in found[:limit]]
        return Answer(to_json({"usage": shown, "more": len(found) > limit}))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a query asks for: days since 1970, both included, and what to group by."""

    by: tuple[str, ...]
    first: int
    last: int

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(_COLUMN.get(name, name) for name in self.by)

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        """Raises OpenAIError."""
        by = tuple(part for part in query.get("by", "day").split(",") if part)
        for name in by:
            if name not in GROUPS or by.count(name) > 1:
                raise invalid("by", f"by takes some of {', '.join(GROUPS)}, each once, with commas between them.")
        return cls(by, *_days(query))


def _days(query: Mapping[str, str]) -> tuple[int, int]:
    last = _day(query, "until", now_us() // DAY_US)
    first = _day(query, "since", max(0, last - _DEFAULT_DAYS + 1))
    if not 0 <= last - first < _MOST_DAYS:
        raise invalid("since", f"since must be a day up to {_MOST_DAYS:,} days before until.")
    return first, last


def _day(query: Mapping[str, str], name: str, otherwise: int) -> int:
    if not query.get(name):
        return otherwise
    try:
        day = (Day.fromisoformat(query[name]) - _EPOCH).days
    except ValueError:
        day = -1
    if day < 0:
        raise invalid(name, f"{name} must be a day like 2026-07-01, after 1969.")
    return day


def day_text(day: int) -> str:
    """A day since 1970 as people write it."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def _group(total: Total, by: tuple[str, ...], name: Any) -> dict[str, Any]:
    told: dict[str, Any] = dict(zip(by, total.group, strict=True))
    if "day" in told:
        told["day"] = day_text(told["day"])
    if "key" in told:
        told["key_name"] = name(told["key"])
    return told | {"requests": total.requests} | _counts(total)


def _counts(each: Total | UsageRecord) -> dict[str, Any]:
    """As `Counts`."""
    return {name: getattr(each, name) for name in _COUNTED} | {
        "seconds": each.seconds_us / 1e6, "cost": usd_float(each.cost_nano),
    }  # fmt: skip


def describe_usage(row: UsageRecord, key_name: str) -> dict[str, Any]:
    """A row with its bill."""
    price = from_json(row.price)
    return {
        "id": row.id, "request_id": row.request_id, "key": row.owner, "key_name": key_name, "dialect": row.dialect,
        "model": row.model, "called": row.called, "reason": row.reason, "created_at": seconds(row.created_us),
        **_counts(row), "calls": row.calls, "price": price.source or "not priced", "bill": bill_of(row, price),
    }  # fmt: skip


def bill_of(row: UsageRecord, price: Price) -> list[str]:
    """How the cost of a row comes about."""
    used = Used(
        row.prompt_tokens, row.cached_tokens, row.image_tokens, row.completion_tokens, row.images, row.captions,
        row.calls, row.seconds_us,
    )  # fmt: skip
    told = [line.arithmetic for line in lines(price, used)]
    return told if price.most is None else [*told, f"at most ${usd(price.most)}, which was set aside for it"]
