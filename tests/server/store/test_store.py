"""The store itself: schema, transactions, and what happens when the database is away, locked, full or another's."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from databases import Postgres
from sqlalchemy import Connection, create_engine, func, insert, inspect, select, text

from triptych.server.store import migrate
from triptych.server.store.ids import new_id
from triptych.server.store.lock import FolderTakenError
from triptych.server.store.store import Store, StoreError, open_store
from triptych.server.store.tables import files, metadata
from triptych.server.store.usage_sums import totals


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """None for SQLite, or the URL of a PostgreSQL database without tables; those of other tests keep theirs."""
    if request.param == "sqlite":
        yield None
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    yield server.bare()
    server.bare()


@pytest.fixture
async def store(tmp_path: Path, database: str | None) -> AsyncIterator[Store]:
    """An empty store, on each database, made by the migrations."""
    opened = await open_store(tmp_path, database)
    yield opened
    await opened.close()


def _row(name: str = "a") -> dict[str, object]:
    return {
        "id": name, "owner": "", "purpose": "batch", "filename": "f", "content_type": "t", "size": 1, "sha256": "0",
        "created_us": 1, "details": "{}",
    }  # fmt: skip


def _add(connection: Connection, name: str = "a") -> None:
    connection.execute(insert(files).values(_row(name)))


def _count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(files)) or 0


async def test_the_migrations_make_the_tables_that_the_statements_use(store: Store) -> None:
    def described(connection: Connection) -> dict[str, dict[str, bool]]:
        found = inspect(connection)
        names = [name for name in found.get_table_names() if name != "alembic_version"]
        return {name: {column["name"]: column["nullable"] for column in found.get_columns(name)} for name in names}

    wanted = {
        table.name: {column.name: bool(column.nullable) for column in table.columns}
        for table in metadata.tables.values()
    }
    assert await store.read(described) == wanted


async def test_the_migrations_make_the_indexes_too(store: Store) -> None:
    def described(connection: Connection) -> set[tuple[str, tuple[str | None, ...]]]:
        found = inspect(connection)
        return {
            (index["name"] or "", tuple(index["column_names"]))
            for name in metadata.tables
            for index in found.get_indexes(name)
        }

    wanted = {
        (index.name, tuple(column.name for column in index.columns))
        for table in metadata.tables.values()
        for index in table.indexes
    }
    assert await store.read(described) == wanted


async def test_a_transaction_is_kept_whole_or_not_at_all(store: Store) -> None:
    def half(connection: Connection) -> None:
        _add(connection)
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        await store.write(half)
    assert await store.read(_count) == 0
    await store.write(_add)
    assert await store.scan(_count) == 1


async def test_what_the_database_refuses_is_a_store_error_without_values(store: Store) -> None:
    await store.write(_add)
    with pytest.raises(StoreError) as caught:
        await store.write(_add)
    assert "sha256" not in str(caught.value)
    assert "INSERT" not in str(caught.value)


async def test_transactions_side_by_side_lose_nothing(store: Store) -> None:
    await asyncio.gather(*(store.write(lambda connection, n=n: _add(connection, str(n))) for n in range(30)))
    assert await store.read(_count) == 30


async def test_a_read_sees_what_was_kept_before_it_and_holds_on_to_nothing(store: Store) -> None:
    def broken(connection: Connection) -> None:
        _count(connection)
        raise StoreError("after a statement")

    for number in range(3):
        assert await store.read(_count) == number
        with pytest.raises(StoreError, match="after a statement"):
            await store.read(broken)
        await store.write(lambda connection, number=number: _add(connection, str(number)))
    assert await store.read(_count) == 3


async def test_a_database_is_opened_again_as_it_was(tmp_path: Path, database: str | None) -> None:
    first = await open_store(tmp_path, database)
    await first.write(_add)
    await first.close()
    again = await open_store(tmp_path, database)
    assert await again.read(_count) == 1
    await again.close()


async def test_servers_that_open_an_empty_database_at_once_make_one_schema(
    tmp_path: Path, database: str | None
) -> None:
    if database is None:
        pytest.skip("a folder belongs to one server")
    opened = await asyncio.gather(*(open_store(tmp_path, database) for _ in range(4)))
    assert [await store.read(_count) for store in opened] == [0] * 4
    for store in opened:
        await store.close()


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path, database: str | None) -> None:
    store = await open_store(tmp_path, database)
    await store.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    await store.close()
    with pytest.raises(migrate.NewerSchemaError, match=r"newer version of triptych \(schema 9999\)"):
        await open_store(tmp_path, database)


@pytest.mark.parametrize("revision", migrate.revisions())
async def test_every_earlier_schema_with_rows_is_brought_up_to_date(tmp_path: Path, revision: str) -> None:
    """Each revision has the tables of the first one, with a row in them."""
    engine = create_engine(f"sqlite:///{tmp_path / 'triptych.db'}")
    migrate.upgrade(engine, revision)
    names = ", ".join(_row())
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO files ({names}) VALUES (:{names.replace(', ', ', :')})"), _row())
    engine.dispose()
    store = await open_store(tmp_path, None)
    assert await store.read(_count) == 1
    revisions = await store.read(lambda connection: connection.scalars(text("SELECT * FROM alembic_version")).all())
    assert revisions == migrate.revisions()[-1:]
    await store.close()


async def test_sums_of_usage_from_before_they_were_kept_coarser(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'triptych.db'}")
    migrate.upgrade(engine, "0005")
    with engine.begin() as connection:
        for number, (owner, model) in enumerate((("a", "m"), ("b", "m"), ("a", "n")), 1):
            zeros = ", ".join(["0"] * 6)
            text_of_row = f"(9, '{owner}', '{model}', 'openai', {number}, {number}, {zeros}, {10**15 + number})"
            connection.execute(text(f"INSERT INTO usage_days VALUES {text_of_row}"))
    engine.dispose()
    store = await open_store(tmp_path, None)
    for by, costs in ((("model",), [2 * 10**15 + 3, 10**15 + 3]), (("owner",), [2 * 10**15 + 4, 10**15 + 2])):
        found = await store.read(lambda connection, by=by: totals(connection, by, None, 9, 9))
        assert [total.cost_nano for total in found] == costs
    await store.close()


# ---- SQLite alone ---------------------------------------------------------------------------------------------------


async def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    first = await open_store(tmp_path, None)
    with pytest.raises(FolderTakenError, match=r"another server \(process \d+\) uses the data folder .*--data"):
        await open_store(tmp_path, None)
    await first.close()
    await (await open_store(tmp_path, None)).close()


async def test_a_database_locked_by_another_program_is_waited_for(tmp_path: Path) -> None:
    store = await open_store(tmp_path, None)
    other = sqlite3.connect(tmp_path / "triptych.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking, writing = asyncio.create_task(tick()), asyncio.create_task(store.write(_add))
    await asyncio.sleep(0.15)
    assert not writing.done()
    assert ticks > 5, "the event loop stood still"
    other.execute("COMMIT")
    await writing
    ticking.cancel()
    assert await store.read(_count) == 1
    other.close()
    await store.close()


async def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    store = await open_store(tmp_path, None)
    await store.write(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1"))

    def fill(connection: Connection) -> None:
        for number in range(2000):
            connection.execute(insert(files).values({**_row(str(number)), "filename": "x" * 2000}))

    with pytest.raises(StoreError, match="full"):
        await store.write(fill)
    assert await store.read(_count) == 0
    await store.close()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"the data folder .* cannot be used"):
        await open_store(tmp_path / "file" / "data", None)


async def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "triptych.db").write_bytes(b"no database " * 1000)
    with pytest.raises(StoreError, match="not a database"):
        await open_store(tmp_path, None)


async def test_a_postgresql_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        await open_store(tmp_path, f"postgresql://me:secret@/nothing?host={tmp_path}")
    assert "secret" not in str(caught.value)
    assert "postgresql" in str(caught.value)


def test_ids_are_in_the_order_of_their_time() -> None:
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    assert all(len(each) == 26 and each.isalnum() and each.islower() | each.isdigit() for each in ids)
    assert [each[:11] for each in ids] == sorted(each[:11] for each in ids)
