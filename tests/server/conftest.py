"""Databases for the tests of what a server keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from databases import Postgres, postgres, sqlite_in
from key_office import Office, opened

from triptych.server.files.blobs import Blobs
from triptych.server.files.library import FileLibrary
from triptych.server.store.store import Store, open_store


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """None for SQLite, or the URL of an empty PostgreSQL database."""
    if request.param == "sqlite":
        return None
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.database()


@pytest.fixture
async def store(tmp_path: Path, database: str | None) -> AsyncIterator[Store]:
    """An empty store, on each database."""
    opened = await open_store(sqlite_in(tmp_path) if database is None else tmp_path, database)
    yield opened
    await opened.close()


@pytest.fixture
def files(tmp_path: Path, store: Store) -> FileLibrary:
    return FileLibrary(store, Blobs(tmp_path / "files"))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    data = tmp_path_factory.mktemp("data")
    with opened(data) as found:
        yield found


@pytest.fixture
def own_office(tmp_path: Path) -> Iterator[Office]:
    """One of a test's own: so many wrong keys from one address would be refused unseen."""
    with opened(tmp_path) as found:
        yield found
