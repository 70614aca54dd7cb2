"""Statements on budgets: what a key may spend in a period is given to servers in grants. What was spent and what is
granted never exceed the limit together, whoever asks at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select, update

from .tables import budget_grants, keys, usage_days_by_owner
from .upsert import upsert


def _spent(owner: str, from_day: int) -> Select[Any]:
    days = usage_days_by_owner.c
    return select(func.coalesce(func.sum(days.cost_nano), 0)).where((days.owner == owner) & (days.day >= from_day))


def _granted(owner: str, day: int) -> Select[Any]:
    rows = (budget_grants.c.owner == owner) & (budget_grants.c.day == day)
    return select(func.coalesce(func.sum(budget_grants.c.nano), 0)).where(rows)


def spent(connection: Connection, owner: str, from_day: int) -> int:
    """Nano-dollars of `owner` since the day `from_day`."""
    return int(connection.scalar(_spent(owner, from_day)) or 0)


def granted(connection: Connection, owner: str, day: int) -> int:
    """Nano-dollars that servers hold for the period that begins on `day`."""
    return int(connection.scalar(_granted(owner, day)) or 0)


def taken(connection: Connection, owner: str, day: int) -> int:
    """Nano-dollars of the period that begins on `day` that are spent or granted.

    One statement, so one view of the database: amounts go from the one to the other while others look.
    """
    both = _spent(owner, day).scalar_subquery() + _granted(owner, day).scalar_subquery()
    return int(connection.scalar(select(both)) or 0)


def grant(
    connection: Connection, owner: str, day: int, server: str, limit: int, need: int, wish: int, now_us: int,
    until_us: int,
) -> tuple[int, int]:
    """Give `server` between `need` and `wish` nano-dollars more, if the `limit` allows: how many (0: it does not), and
    what is left to give.
    """
    # Whoever asks for the same key waits here, until the other's transaction is over.
    connection.execute(select(keys.c.id).where(keys.c.id == owner).with_for_update())
    late = (budget_grants.c.lease_us < now_us) & (budget_grants.c.server != server)
    connection.execute(delete(budget_grants).where(budget_grants.c.owner == owner, late))
    left = limit - taken(connection, owner, day)
    given = min(wish, left)
    if given < need or given <= 0:
        return 0, left
    row = {"owner": owner, "day": day, "server": server, "nano": given, "lease_us": until_us}
    made = upsert(connection, budget_grants).values(row)
    more = {"nano": budget_grants.c.nano + made.excluded.nano, "lease_us": made.excluded.lease_us}
    connection.execute(made.on_conflict_do_update(index_elements=["owner", "day", "server"], set_=more))
    return given, left - given


def give_back(connection: Connection, server: str, amounts: Mapping[tuple[str, int], int]) -> None:
    """Take `amounts` by key and day off what `server` holds."""
    for (owner, day), nano in amounts.items():
        same = (budget_grants.c.owner == owner) & (budget_grants.c.day == day) & (budget_grants.c.server == server)
        connection.execute(update(budget_grants).where(same).values(nano=budget_grants.c.nano - nano))
    connection.execute(delete(budget_grants).where(budget_grants.c.server == server, budget_grants.c.nano == 0))


def renew(
    connection: Connection, server: str, until_us: int, idle: Mapping[tuple[str, int], int] | None = None
) -> None:
    """The server lives, and gives the amounts `idle` by key and day back."""
    if idle:
        give_back(connection, server, idle)
    connection.execute(update(budget_grants).where(budget_grants.c.server == server).values(lease_us=until_us))


def forget(connection: Connection, servers: Sequence[str] | None = None) -> None:
    """What these servers hold is nobody's any more; None: whatever there is."""
    gone = delete(budget_grants)
    connection.execute(gone if servers is None else gone.where(budget_grants.c.server.in_(servers)))
