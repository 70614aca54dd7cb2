"""Statements on what a server must keep to itself, such as the keys that webhooks are signed with."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from .tables import secrets

_BEFORE = " before"


def find(connection: Connection, name: str, earlier_after_us: int) -> tuple[str, ...]:
    """The secret `name`, and behind it what it was before, if that was replaced after `earlier_after_us`; () if there
    is none.
    """
    query = select(secrets.c.name, secrets.c.value, secrets.c.created_us).where(
        secrets.c.name.in_((name, name + _BEFORE))
    )
    rows = {row.name: row for row in connection.execute(query)}
    if name not in rows:
        return ()
    before = rows.get(name + _BEFORE)
    current = str(rows[name].value)
    return (current, str(before.value)) if before is not None and before.created_us > earlier_after_us else (current,)


def secret(connection: Connection, name: str, fresh: str, now_us: int) -> str:
    """The secret `name`; `fresh` from now on if there is none."""
    query = select(secrets.c.value).where(secrets.c.name == name)
    found = connection.scalar(query)
    if found is not None:
        return str(found)
    try:
        with connection.begin_nested():
            connection.execute(insert(secrets).values(name=name, value=fresh, created_us=now_us))
    except IntegrityError:
        return str(connection.scalar(query))
    return fresh


def replace(connection: Connection, name: str, fresh: str, now_us: int) -> None:
    """`fresh` is the secret `name` from now on, and what it was is the one before."""
    current = secret(connection, name, fresh, now_us)
    if current == fresh:  # there was none
        return
    locked = select(secrets.c.value).where(secrets.c.name == name).with_for_update()  # another may replace it too
    current = str(connection.scalar(locked))
    connection.execute(delete(secrets).where(secrets.c.name == name + _BEFORE))
    connection.execute(insert(secrets).values(name=name + _BEFORE, value=current, created_us=now_us))
    connection.execute(update(secrets).where(secrets.c.name == name).values(value=fresh, created_us=now_us))
