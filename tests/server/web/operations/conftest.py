"""What the pages for operators read from is read from each database."""

from __future__ import annotations

import pytest
from databases import Postgres


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """None for SQLite, or the URL of a PostgreSQL database that was empty before the tests of a file."""
    if request.param == "sqlite":
        return None
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.database()
