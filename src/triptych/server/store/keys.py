"""Statements on keys. A secret is never stored, only its hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, case, func, insert, inspect, select, update

from .tables import keys


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a key may do; None is without limit. `spend_nano` are nano-dollars for each `spend_per`. `models` are served
    names, `dialects` their names.
    """

    models: tuple[str, ...] | None = None
    dialects: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    spend_nano: int | None = None
    spend_per: str = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key. `start` is what is shown of its secret; `hash` is of the secret, `earlier` of the one before, which lets
    in until `earlier_until_us`. Times are in microseconds.
    """

    id: str
    hash: str
    start: str
    name: str
    created_us: int
    changed_us: int
    admin: bool = False
    limits: Limits = field(default_factory=Limits)
    earlier: str | None = None
    earlier_until_us: int | None = None
    expires_us: int | None = None
    revoked_us: int | None = None

    def works(self, now_us: int) -> bool:
        """Whether it lets in."""
        return self.revoked_us is None and (self.expires_us is None or now_us < self.expires_us)


_NAMES = tuple(each.name for each in fields(KeyRecord))


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(values)
    if "limits" in found:
        found["limits"] = msgspec.json.encode(found["limits"]).decode()
    if "admin" in found:
        found["admin"] = int(found["admin"])
    return found


def _record(row: Row[Any]) -> KeyRecord:
    values = dict(row._mapping)
    limits = msgspec.json.decode(values["limits"], type=Limits)
    return KeyRecord(**values | {"limits": limits, "admin": bool(values["admin"])})


def add(connection: Connection, record: KeyRecord) -> None:
    connection.execute(insert(keys), _columns({name: getattr(record, name) for name in _NAMES}))


def change(connection: Connection, key_id: str, now_us: int, **values: Any) -> KeyRecord | None:
    """The key with `values`, None if there is none or it was revoked: that is for ever."""
    same = (keys.c.id == key_id) & keys.c.revoked_us.is_(None)
    changed = update(keys).where(same).values(**_columns(values), changed_us=now_us).returning(keys)
    row = connection.execute(changed).one_or_none()
    return None if row is None else _record(row)


def changed_since(connection: Connection, since_us: int) -> list[KeyRecord]:
    """Every key that was made or changed at `since_us` or after it."""
    query = select(keys).where(keys.c.changed_us >= since_us).order_by(keys.c.id)
    return [_record(row) for row in connection.execute(query)]


def _work(now_us: int) -> ColumnElement[bool]:
    expired = keys.c.expires_us.is_not(None) & (keys.c.expires_us <= now_us)
    return keys.c.revoked_us.is_(None) & ~expired


def admins(connection: Connection, now_us: int) -> int:
    """How many keys of administrators let in now."""
    works = (keys.c.admin == 1) & _work(now_us)
    return int(connection.scalar(select(func.count()).select_from(keys).where(works)) or 0)


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """How many keys there have ever been, how many of them let in, and how many of those are administrators'."""

    ever: int = 0
    working: int = 0
    admins: int = 0


def counts(connection: Connection, now_us: int) -> KeyCounts:
    """None of a database that is older than keys."""
    if not inspect(connection).has_table(keys.name):
        return KeyCounts()
    working = func.coalesce(func.sum(case((_work(now_us), 1), else_=0)), 0)
    row = connection.execute(select(func.count(), working).select_from(keys)).one()
    return KeyCounts(int(row[0]), int(row[1]), admins(connection, now_us))
