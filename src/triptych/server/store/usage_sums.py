"""Usage added up by day: of each key, model and API, and coarser, so that a chart reads few rows however many there are
of keys. All of it changes in the transaction that adds rows of usage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Table, cast, func, select
from sqlalchemy.dialects import postgresql, sqlite

from .prepared import driver_of
from .tables import usage_days, usage_days_by_model, usage_days_by_owner

# What is added up, beside the number of rows.
ADDED = (
    "prompt_tokens", "cached_tokens", "image_tokens", "completion_tokens", "images", "captions", "seconds_us",
    "cost_nano",
)  # fmt: skip
# What it is added up by.
BY = ("day", "owner", "model", "dialect")
_SUMS = ("requests", *ADDED)
_QMARK = sqlite.dialect(paramstyle="qmark")
Key = tuple[Any, ...]
Values = tuple[int, ...]


class _Rollup:
    """One table of sums."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.keys = tuple(column.name for column in table.primary_key)
        self._key = itemgetter(*map(BY.index, self.keys))
        # Straight to the driver: it is built once, and each row takes a fraction of its way through SQLAlchemy.
        self._text = str(self._made(sqlite).compile(dialect=_QMARK, column_keys=[*self.keys, *_SUMS]))
        self._postgres = self._made(postgresql)

    def _made(self, database: Any) -> Any:
        made = database.insert(self.table)
        more = {name: self.table.c[name] + made.excluded[name] for name in _SUMS}
        return made.on_conflict_do_update(index_elements=list(self.keys), set_=more)

    def add(self, connection: Connection, finest: Mapping[Key, Values]) -> None:
        """Add sums by all of `BY`."""
        sums = added_up((self._key(key), values) for key, values in finest.items())
        # In one order, so that two servers that add to the same days never wait for each other in a circle.
        rows = [(*key, *sums[key]) for key in sorted(sums)]
        if connection.dialect.name == "sqlite":
            driver_of(connection).executemany(self._text, rows)
        else:
            names = (*self.keys, *_SUMS)
            connection.execute(self._postgres, [dict(zip(names, row, strict=True)) for row in rows])


# The smallest first.
_ROLLUPS = tuple(map(_Rollup, (usage_days_by_model, usage_days_by_owner, usage_days)))


def added_up(rows: Iterable[tuple[Key, Values]]) -> dict[Key, Values]:
    """The sums of what has the same key."""
    groups: defaultdict[Key, list[Values]] = defaultdict(list)
    for key, values in rows:
        groups[key].append(values)
    return {key: tuple(map(sum, zip(*each, strict=True))) for key, each in groups.items()}


def add(connection: Connection, finest: Mapping[Key, Values]) -> None:
    """Add the number of rows and `ADDED`, by all of `BY`."""
    for rollup in _ROLLUPS if finest else ():
        rollup.add(connection, finest)


class Total(msgspec.Struct, frozen=True):
    """What was used, over all rows of a group. `group` has the values that it is grouped by, in their order."""

    group: tuple[Any, ...]
    requests: int
    prompt_tokens: int
    cached_tokens: int
    image_tokens: int
    completion_tokens: int
    images: int
    captions: int
    seconds_us: int
    cost_nano: int


def totals(
    connection: Connection, by: Sequence[str], owner: str | None, from_day: int, to_day: int
) -> list[Total]:
    """Usage from `from_day` up to `to_day`, both included, by some of day, owner, model and dialect; of one owner
    (None: of all).
    """
    told_apart = {"day", *by} | (set() if owner is None else {"owner"})
    table = next(rollup.table for rollup in _ROLLUPS if told_apart <= set(rollup.keys))
    columns, numbers = [table.c[name] for name in by], [table.c[name] for name in _SUMS]
    as_they_are = set(by) == set(table.primary_key.columns.keys())
    added = numbers if as_they_are else [_sum(connection, number) for number in numbers]
    query = select(*columns, *added).where(table.c.day.between(from_day, to_day)).order_by(*columns)
    if owner is not None:
        query = query.where(table.c.owner == owner)
    rows = connection.execute(query if as_they_are else query.group_by(*columns)).all()
    # Over nothing there is no sum.
    return [Total(row[: len(by)], *(each or 0 for each in row[len(by) :])) for row in rows]


def _sum(connection: Connection, column: Column[int]) -> ColumnElement[int]:
    """A whole number: PostgreSQL makes a decimal one of it."""
    added = func.sum(column)
    return added if connection.dialect.name == "sqlite" else cast(added, BigInteger)
