"""Work on the database: one small interface, and one executor each for SQLite and PostgreSQL.

Work is a plain function of a SQLAlchemy connection, the same for both. SQLite runs it on the event loop itself: what
the server asks touches a few indexed rows and takes less time than handing it to a thread. What scans goes to a thread.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from ...engine.errors import TriptychError
from .group import Group
from .lock import FolderLock
from .migrate import upgrade
from .prepared import driver_of

log = logging.getLogger("triptych.server")

T = TypeVar("T")
Work = Callable[[Connection], T]

# SQLite's file in the data folder.
DATABASE = "triptych.db"
# Another process may hold SQLite's lock for a moment: waited for on the loop, in steps, not inside SQLite.
_LOCKED_WAIT = 5.0
_LOCKED_STEP = 0.02


class StoreError(TriptychError):
    """The database cannot do what it was asked now: away, full, or in another's hands."""


class Store(ABC):
    """A database. `alone` says whether no other server can work on it."""

    alone: bool

    @abstractmethod
    async def read(self, work: Work[T]) -> T:
        """Run work that changes nothing and touches a few rows. Raises StoreError."""

    @abstractmethod
    async def write(self, work: Work[T]) -> T:
        """Run work as one transaction, or a part of one: all of it is kept, or nothing if it raises. It may be run more
        than once before it is kept. Raises StoreError.
        """

    @abstractmethod
    async def scan(self, work: Work[T]) -> T:
        """Run work that reads many rows. Raises StoreError."""

    @abstractmethod
    async def close(self) -> None: ...


class SQLiteStore(Store):
    """One file, write-ahead logged, for one server."""

    alone = True

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = FolderLock(path.parent)
        path.touch(mode=0o600)  # what signs sessions and webhooks is in it
        url = URL.create("sqlite", database=str(path))  # a name may have what means something else in a URL
        self._writer = create_engine(url, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False})
        self._reader = create_engine(url, pool_size=4, connect_args={"check_same_thread": False})
        for engine, begin in ((self._writer, "BEGIN IMMEDIATE"), (self._reader, "BEGIN")):
            _prepare(engine, begin)
        try:
            upgrade(self._writer)
        except Exception as error:
            self._lock.release()
            raise _store_error(error, str(path)) if isinstance(error, SQLAlchemyError) else error from error
        # The event loop's own, always open: taking one from the pool costs as much as the statement.
        self._reads, self._writes = self._reader.connect(), self._writer.connect()
        self._group = Group(partial(_run, self._writes), _is_locked, _LOCKED_STEP, _LOCKED_WAIT)

    async def read(self, work: Work[T]) -> T:
        deadline = asyncio.get_running_loop().time() + _LOCKED_WAIT
        while True:
            try:
                return _read(self._reads, work)
            except StoreError as error:
                if not _is_locked(error) or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_LOCKED_STEP)

    async def write(self, work: Work[T]) -> T:
        return cast(T, await self._group.write(work))

    async def scan(self, work: Work[T]) -> T:
        return await asyncio.to_thread(self._scan, work)

    def _scan(self, work: Work[T]) -> T:
        with self._reader.connect() as connection:
            return _run(connection, work)

    async def close(self) -> None:
        self._group.finish()
        self._reads.close()
        self._writes.close()
        self._writer.dispose()
        self._reader.dispose()
        self._lock.release()


def _prepare(engine: Engine, begin: str) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves
        for setting in ("journal_mode = WAL", "synchronous = NORMAL", "busy_timeout = 0", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {setting}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        driver_of(connection).execute(begin)


def _run(connection: Connection, work: Work[T]) -> T:
    try:
        with connection.begin():
            return work(connection)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _store_error(error) from error


def _read(connection: Connection, work: Work[T]) -> T:
    """On the event loop nothing changes between two statements of one work, so that beginning and ending a transaction,
    which takes longer than what is read, is left out; what SQLAlchemy has begun is ended.
    """
    try:
        return work(connection)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _store_error(error) from error
    finally:
        if connection.in_transaction():
            connection.rollback()


def _is_locked(error: Exception) -> bool:
    return isinstance(error, StoreError) and "locked" in str(error)


class PostgresStore(Store):
    """A PostgreSQL database, which several servers may share. Made by `connect`."""

    alone = False

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), pool_pre_ping=True)
        self._name = make_url(url).render_as_string(hide_password=True)
        self._under_way: set[asyncio.Task[Any]] = set()

    async def connect(self) -> None:
        """Bring the schema up to date. Raises StoreError."""
        try:
            async with self._engine.connect() as connection:
                await connection.run_sync(upgrade)
        except (SQLAlchemyError, OSError) as error:
            await self._engine.dispose()
            raise _store_error(error, self._name) from error

    async def read(self, work: Work[T]) -> T:
        return await self._run(work)

    async def write(self, work: Work[T]) -> T:
        return await self._run(work)

    async def scan(self, work: Work[T]) -> T:
        return await self._run(work)

    async def _run(self, work: Work[T]) -> T:
        """A transaction that has begun goes to its end, also when whoever asked for it is cancelled."""
        task = asyncio.ensure_future(self._transaction(work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _transaction(self, work: Work[T]) -> T:
        try:
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)
        except (SQLAlchemyError, OSError) as error:
            raise _store_error(error) from error

    async def close(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self._engine.dispose()


def _store_error(error: Exception, where: str = "") -> StoreError:
    failed = failure(error, where)
    log.error("%s", failed)
    return failed


def failure(error: Exception, where: str = "") -> StoreError:
    """What the database said, without the statement and its values."""
    reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    named = f"the database {where}" if where else "the database"
    return StoreError(f"{named} failed: {reason.strip().partition(chr(10))[0] or type(error).__name__}")


async def open_store(data: Path, database: str | None) -> Store:
    """The database that settings name: a PostgreSQL URL, or triptych.db in the folder `data`.

    Raises StoreError, also when another server works in the folder.
    """
    if database is None:
        try:
            return SQLiteStore(data / DATABASE)
        except OSError as error:
            raise StoreError(f"the data folder {data} cannot be used: {error.strerror or error}") from None
    store = PostgresStore(database)
    await store.connect()
    return store
