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
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from ...engine.errors import TriptychError
from .lock import FolderLock
from .migrate import upgrade

log = logging.getLogger("triptych.server")

T = TypeVar("T")
Work = Callable[[Connection], T]

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
        """Run work as one transaction: all of it is kept, or nothing if it raises. Raises StoreError."""

    @abstractmethod
    async def scan(self, work: Work[T]) -> T:
        """Run work that reads many rows. Raises StoreError."""

    @abstractmethod
    async def close(self) -> None: ...


class SQLiteStore(Store):
    """One file, write-ahead logged, for one server."""

    alone = True

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(path.parent)
        url = f"sqlite:///{path}"
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
        self._on_loop = {engine: engine.connect() for engine in (self._writer, self._reader)}

    async def read(self, work: Work[T]) -> T:
        return await self._patiently(self._reader, work)

    async def write(self, work: Work[T]) -> T:
        return await self._patiently(self._writer, work)

    async def scan(self, work: Work[T]) -> T:
        return await asyncio.to_thread(self._scan, work)

    def _scan(self, work: Work[T]) -> T:
        with self._reader.connect() as connection:
            return _run(connection, work)

    async def _patiently(self, engine: Engine, work: Work[T]) -> T:
        deadline = asyncio.get_running_loop().time() + _LOCKED_WAIT
        while True:
            try:
                return _run(self._on_loop[engine], work)
            except StoreError as error:
                if "locked" not in str(error) or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_LOCKED_STEP)

    async def close(self) -> None:
        for connection in self._on_loop.values():
            connection.close()
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
        connection.exec_driver_sql(begin)


def _run(connection: Connection, work: Work[T]) -> T:
    try:
        with connection.begin():
            return work(connection)
    except SQLAlchemyError as error:
        raise _store_error(error) from error


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
    """What the database said, without the statement and its values."""
    reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    log.error("the database failed: %s", reason)
    named = f"the database {where}" if where else "the database"
    return StoreError(f"{named} failed: {reason.strip().partition(chr(10))[0] or type(error).__name__}")


async def open_store(data: Path, database: str | None) -> Store:
    """The database that settings name: a PostgreSQL URL, or triptych.db in the folder `data`.

    Raises StoreError, also when another server works in the folder.
    """
    if database is None:
        try:
            return SQLiteStore(data / "triptych.db")
        except OSError as error:
            raise StoreError(f"the data folder {data} cannot be used: {error.strerror or error}") from None
    store = PostgresStore(database)
    await store.connect()
    return store
