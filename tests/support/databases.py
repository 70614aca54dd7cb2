"""Databases to test on: SQLite always, PostgreSQL from an installed server."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from triptych.server.store.migrate import upgrade


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`: $PG_BIN, what pg_config says, or where Debian puts them."""
    told = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True).stdout.strip() if _has() else ""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in (os.environ.get("PG_BIN"), told, *debian):
        if folder and (Path(folder) / "initdb").is_file():
            return Path(folder)
    return None


def _has() -> bool:
    return shutil.which("pg_config") is not None


# Whoever else is connected leaves.
_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
)
_EMPTY = """
    DO $$ DECLARE names text; BEGIN
    SELECT string_agg(quote_ident(tablename), ', ') INTO names FROM pg_tables
    WHERE schemaname = 'public' AND tablename <> 'alembic_version';
    IF names IS NOT NULL THEN EXECUTE 'TRUNCATE ' || names || ' RESTART IDENTITY'; END IF;
    END $$
"""


class Postgres:
    """A server on a Unix socket in `folder`, without a care for its data."""

    def __init__(self, folder: Path, user: str | None, tools: Path) -> None:
        self.folder, self._user, self._tools = folder, user, tools

    def run(self, tool: str, *arguments: str) -> None:
        command = [str(self._tools / tool), *arguments]
        done = subprocess.run(command, user=self._user, capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == 0, done.stderr

    def database(self) -> str:
        """The URL of its database. Tables that are there stay and are emptied: making them takes most of the time."""
        return self._after(_EMPTY)

    def bare(self) -> str:
        """The URL of its database, without tables."""
        return self._after("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

    def _after(self, *statements: str) -> str:
        options = [text for statement in (_OTHERS, *statements) for text in ("-c", statement)]
        self.run("psql", "-q", "-h", str(self.folder), "-U", "postgres", *options)
        return f"postgresql://postgres@/postgres?host={self.folder}"


def sqlite_in(folder: Path) -> Path:
    """`folder`, with a database that has its tables, and nothing in them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "triptych.db").write_bytes(_tables())
    return folder


@cache
def _tables() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "triptych.db")
        engine = create_engine(f"sqlite:///{path}")
        upgrade(engine)
        engine.dispose()
        return path.read_bytes()


@contextmanager
def postgres() -> Iterator[Postgres]:
    """An installed PostgreSQL. Skips, and says why, when there is none; in CI that is a failure."""
    tools = binaries()
    if tools is None:
        reason = "no PostgreSQL server is installed (set PG_BIN to the folder of initdb, or apt install postgresql)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    # PostgreSQL does not run as root; pytest's own folders are closed to everybody else.
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    process = None
    try:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        server = Postgres(folder, user, tools)
        server.run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
        settings = {"unix_socket_directories": folder, "listen_addresses": "", "fsync": "off", "max_connections": 50}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            [str(tools / "postgres"), "-D", str(folder / "data"), *options], user=user, cwd=folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not (folder / ".s.PGSQL.5432").exists():
            assert process.poll() is None, "PostgreSQL ended"
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.02)
        time.sleep(0.1)
        yield server
    finally:
        if process is not None:
            process.send_signal(2)
            process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
