"""Statements on what a server must keep to itself, such as the keys that webhooks are signed with."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from .tables import secrets

_BEFORE = " before"


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


def earlier(connection: Connection, name: str, after_us: int) -> str | None:
    """The secret that `name` was before, if it was replaced after `after_us`."""
    query = select(secrets.c.value).where(secrets.c.name == name + _BEFORE, secrets.c.created_us > after_us)
    return connection.scalar(query)


def replace(connection: Connection, name: str, fresh: str, now_us: int) -> None:
    """`fresh` is the secret `name` from now on, and what it was is `earlier`."""
    current = secret(connection, name, fresh, now_us)
    if current == fresh:  # there was none
        return
    connection.execute(delete(secrets).where(secrets.c.name == name + _BEFORE))
    connection.execute(insert(secrets).values(name=name + _BEFORE, value=current, created_us=now_us))
    connection.execute(update(secrets).where(secrets.c.name == name).values(value=fresh, created_us=now_us))
