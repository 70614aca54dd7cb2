"""Statements on usage: a row for each generation. Rows never change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from . import usage_sums
from .budgets import give_back
from .prepared import driver_of
from .tables import usage
from .usage_sums import ADDED, BY

DAY_US = 86_400_000_000
# Columns in one INSERT: SQLite takes 32,766 values in a statement.
_AT_ONCE = 1000



class UsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one generation of `owner` used and cost. `called` is the name that was asked for, `model` what answered;
    `reason` is how it ended; `price` is the price applied, as JSON; times are in microseconds. `grant_day` is the day
    that the period begins on whose budget it was reserved from. A prediction's row has its id.
    """

    id: str
    request_id: str
    owner: str
    dialect: str
    model: str
    called: str
    reason: str
    created_us: int
    price: str
    cost_nano: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    image_tokens: int = 0
    completion_tokens: int = 0
    images: int = 0
    captions: int = 0
    calls: int = 1
    seconds_us: int = 0
    grant_day: int | None = None

    @property
    def day(self) -> int:
        """Days since 1970, or the beginning of the period that paid if that was later."""
        return max(self.created_us // DAY_US, self.grant_day or 0)


# As they stand in the table, where the day comes last.
_NAMES = tuple(column.name for column in usage.columns if column.name != "day")
_values = attrgetter(*_NAMES)
# Straight to the driver: on its way through SQLAlchemy a row takes several times what the database does.
_ADD = str(insert(usage).compile(dialect=sqlite.dialect(paramstyle="qmark"), column_keys=[*_NAMES, "day"]))
_THERE = "SELECT id FROM usage WHERE id IN (SELECT value FROM json_each(?))"
_group, _added = attrgetter(*BY), attrgetter(*ADDED)


def add(connection: Connection, records: Sequence[UsageRecord], server: str) -> int:
    """Keep rows that are not there yet, and take what budgets paid off what `server` holds; how many are new."""
    new: list[UsageRecord] = []
    for start in range(0, len(records), _AT_ONCE):
        part = {record.id: record for record in records[start : start + _AT_ONCE]}
        new += _add_new(connection, part)
    usage_sums.add(connection, usage_sums.added_up((_group(each), (1, *_added(each))) for each in new))
    paid: defaultdict[tuple[str, int], int] = defaultdict(int)
    for record in new:
        if record.grant_day is not None:
            paid[record.owner, record.grant_day] += record.cost_nano
    if paid:
        give_back(connection, server, paid)
    return len(new)


def _add_new(connection: Connection, records: Mapping[str, UsageRecord]) -> list[UsageRecord]:
    """Keep those of `records` that are not there yet."""
    if connection.dialect.name == "sqlite":  # no other server writes here
        driver = driver_of(connection)
        there = {found for (found,) in driver.execute(_THERE, (msgspec.json.encode([*records]).decode(),))}
        new = [record for record in records.values() if record.id not in there]
        driver.executemany(_ADD, [(*_values(each), each.day) for each in new])
        return new
    rows = [{name: getattr(each, name) for name in _NAMES} | {"day": each.day} for each in records.values()]
    made = postgresql.insert(usage).on_conflict_do_nothing(index_elements=["id"]).returning(usage.c.id)
    return [records[found] for found in connection.execute(made, rows).scalars()]


def page(
    connection: Connection, owner: str | None, before: str | None, limit: int, model: str | None = None,
    days: tuple[int, int] | None = None,
) -> list[UsageRecord]:  # fmt: skip
    """Up to `limit` rows of `owner` (None: of all), the newest first; of a first to a last day."""
    query = select(*(usage.c[name] for name in _NAMES))
    for column, value in ((usage.c.owner, owner), (usage.c.model, model)):
        if value is not None:
            query = query.where(column == value)
    if days is not None:
        query = query.where(usage.c.day.between(*days))
    if before is not None:
        query = query.where(usage.c.id < before)
    return [_record(row) for row in connection.execute(query.order_by(usage.c.id.desc()).limit(limit))]


def get(connection: Connection, usage_id: str) -> UsageRecord | None:
    query = select(*(usage.c[name] for name in _NAMES)).where(usage.c.id == usage_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _record(row)


def _record(row: Row[Any]) -> UsageRecord:
    return UsageRecord(**row._mapping)
