"""Writes of one turn of the event loop: one transaction for all, and each for itself when one goes wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from triptych.server.store.store import SQLiteStore, StoreError


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    store = SQLiteStore(tmp_path / "triptych.db")
    await store.write(lambda connection: connection.execute(text("CREATE TABLE things (name TEXT PRIMARY KEY)")))
    yield store
    await store.close()


def _keep(name: str, connection: Connection) -> str:
    connection.execute(text("INSERT INTO things VALUES (:name)"), {"name": name})
    return name


def _names(connection: Connection) -> list[str]:
    return list(connection.scalars(text("SELECT name FROM things ORDER BY rowid")))


def _commits(store: SQLiteStore) -> list[None]:
    seen: list[None] = []
    event.listen(store._writer, "commit", lambda connection: seen.append(None))
    return seen


async def test_what_is_asked_for_in_one_turn_is_one_transaction_in_its_order(store: SQLiteStore) -> None:
    commits = _commits(store)
    kept = await asyncio.gather(*(store.write(partial(_keep, str(number))) for number in range(10)))
    assert kept == [str(number) for number in range(10)]
    assert len(commits) == 1
    await store.write(partial(_keep, "later"))
    assert len(commits) == 2
    assert await store.read(_names) == [*kept, "later"]


async def test_what_raises_is_undone_alone(store: SQLiteStore) -> None:
    def half(connection: Connection) -> None:
        _keep("half", connection)
        raise ValueError("in the middle")

    writes = (partial(_keep, "one"), half, partial(_keep, "one"), partial(_keep, "two"))
    first, second, third, fourth = await asyncio.gather(*map(store.write, writes), return_exceptions=True)
    assert (first, fourth) == ("one", "two")
    assert isinstance(second, ValueError)
    assert isinstance(third, StoreError)
    assert "UNIQUE" in str(third)
    assert await store.read(_names) == ["one", "two"]


async def test_a_write_that_nobody_waits_for_is_left_out_before_it_began(store: SQLiteStore) -> None:
    gone, kept = (asyncio.ensure_future(store.write(partial(_keep, name))) for name in ("gone", "kept"))
    await asyncio.sleep(0)  # both are asked for
    gone.cancel()
    assert await kept == "kept"
    assert await store.read(_names) == ["kept"]


async def test_more_than_one_transaction_takes_are_several_and_the_loop_goes_on(store: SQLiteStore) -> None:
    commits = _commits(store)
    kept = await asyncio.gather(*(store.write(partial(_keep, str(number))) for number in range(300)))
    assert await store.read(_names) == kept
    assert 5 <= len(commits) < 10


async def test_all_wait_for_a_database_that_is_locked(store: SQLiteStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "triptych.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    early = [asyncio.ensure_future(store.write(partial(_keep, str(number)))) for number in range(3)]
    await asyncio.sleep(0.05)
    late = asyncio.ensure_future(store.write(partial(_keep, "late")))
    await asyncio.sleep(0.05)
    early[1].cancel()
    assert not any(write.done() for write in (early[0], early[2], late))
    other.execute("COMMIT")
    await asyncio.gather(early[0], early[2], late)
    assert await store.read(_names) == ["0", "2", "late"]
    other.close()


async def test_a_database_that_stays_locked_is_told_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triptych.server.store.store._LOCKED_WAIT", 0.1)
    store = SQLiteStore(tmp_path / "triptych.db")
    other = sqlite3.connect(tmp_path / "triptych.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    work = text("SELECT 1")
    failed = await asyncio.gather(
        *(store.write(lambda connection: connection.execute(work)) for _ in range(3)), return_exceptions=True
    )
    assert [type(error) for error in failed] == [StoreError] * 3
    other.execute("COMMIT")
    await store.write(lambda connection: connection.execute(work))
    other.close()
    await store.close()


async def test_what_was_asked_for_is_kept_when_the_store_is_closed(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "triptych.db")
    await store.write(lambda connection: connection.execute(text("CREATE TABLE things (name TEXT PRIMARY KEY)")))
    asked = asyncio.ensure_future(store.write(partial(_keep, "last")))
    closing = asyncio.ensure_future(store.close())
    assert await asked == "last"
    await closing
    with sqlite3.connect(tmp_path / "triptych.db") as other:
        assert other.execute("SELECT name FROM things").fetchall() == [("last",)]
    with pytest.raises(StoreError):
        await store.write(partial(_keep, "too late"))
