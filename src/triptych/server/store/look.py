"""A look at a database that may be in a server's hands: nothing is made, changed or locked."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from .store import DATABASE, Work, failure

T = TypeVar("T")

# Seconds that a PostgreSQL server has to answer.
_PATIENCE = 5.0


def look(data: Path, database: str | None, work: Work[T]) -> T | None:
    """What `work` reads of the database that `open_store` would open; None if there is none yet. Raises StoreError."""
    if database is not None:
        return asyncio.run(_look_at_postgres(database, work))
    path = data / DATABASE
    return _look_at_file(path, work) if path.exists() else None


def _look_at_file(path: Path, work: Work[T]) -> T:
    # Without a server there is no log beside the file, and SQLite would make one even to read.
    at_rest = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    address = f"file:{quote(str(path.resolve()))}?mode=ro{at_rest}"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return work(connection)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise failure(error, str(path)) from error


async def _look_at_postgres(database: str, work: Work[T]) -> T:
    url = make_url(database)
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg"), poolclass=NullPool, connect_args={"timeout": _PATIENCE}
    )
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(work)
    except (SQLAlchemyError, OSError) as error:
        raise failure(error, url.render_as_string(hide_password=True)) from error
    finally:
        await engine.dispose()
