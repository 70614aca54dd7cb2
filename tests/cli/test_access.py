"""Whom `triptych config` says that a server lets in, by the keys of the settings and of a database it only looks at."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from triptych.server.store import keys as statements
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.keys import KeyRecord
from triptych.server.store.store import Store, open_store


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The data folder of the settings, which is not there yet."""
    for name in [name for name in os.environ if name.startswith("TRIPTYCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "da ta?#%"))
    return tmp_path / "da ta?#%"


async def stored(data: Path, *kinds: dict[str, Any]) -> Store:
    """A running server's store with a key of each kind."""
    store = await open_store(data, None)
    for kind in kinds:
        plain = KeyRecord(id=new_id(), hash=new_id(), start="", name="a", created_us=now_us(), changed_us=now_us())
        await store.write(partial(statements.add, record=replace(plain, **kind)))
    return store


def access(cli: Any, *words: str) -> str:
    result = cli("config", *words)
    assert result.exit_code == 0, result.output
    return next(line for line in result.stdout.splitlines() if line.startswith("access: ")).removeprefix("access: ")


def facts(cli: Any) -> dict[str, Any]:
    return dict(json.loads(cli("config", "--json").stdout)["access"])


ADMIN, GONE, LATE = {"admin": True}, {"revoked_us": 1}, {"expires_us": 1}


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ([], "open to everybody who reaches the server: there is no key"),
        ([ADMIN], "for 1 key stored, 1 of them administrators'"),
        ([ADMIN, {}, GONE, LATE], "for 2 keys stored (2 more revoked or expired), 1 of them administrators'"),
        ([ADMIN | GONE], "for 0 keys stored (1 more revoked or expired), 0 of them administrators'"),
    ],
)
async def test_keys_are_counted_while_a_server_runs_and_after_it(
    cli: Any, data: Path, kinds: Sequence[dict[str, Any]], told: str
) -> None:
    store = await stored(data, *kinds)
    assert access(cli) == told
    await store.close()
    left = sorted(data.iterdir())
    assert access(cli) == told
    assert sorted(data.iterdir()) == left  # not even the files that SQLite reads with
    assert facts(cli)["open"] == (not kinds)


async def test_keys_of_the_settings_are_told_apart(cli: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await stored(data, ADMIN)).close()
    monkeypatch.setenv("TRIPTYCH_KEYS", "one,two")
    assert access(cli) == "for 2 keys of the settings and 1 key stored, 1 of them administrators'"
    assert facts(cli) == {
        "open": False, "settings_keys": 2, "stored_keys": 1, "stored_admin_keys": 1, "revoked_or_expired_keys": 0,
        "trouble": None,
    }  # fmt: skip
    monkeypatch.delenv("TRIPTYCH_KEYS")
    monkeypatch.setenv("TRIPTYCH_NO_AUTH", "true")
    assert access(cli) == "open to everybody, by no_auth (1 key stored, 1 of them administrators')"
    assert facts(cli)["open"] is True


async def test_a_stored_administrator_is_enough_to_serve_others(
    cli: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIPTYCH_HOST", "0.0.0.0")
    await (await stored(data, {})).close()
    assert cli("config").exit_code == 1
    await (await stored(data, ADMIN)).close()
    assert access(cli) == "for 2 keys stored, 1 of them administrators'"


def test_a_database_that_does_not_answer_is_said_and_none_is_made(
    cli: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert access(cli).startswith("open")
    assert not data.exists()
    data.mkdir()
    (data / "triptych.db").write_bytes(b"no database at all" * 100)
    assert "stored keys, which cannot be counted (the database" in access(cli)
    assert "file is not a database" in facts(cli)["trouble"]
    monkeypatch.setenv("TRIPTYCH_DATABASE", "postgresql://somebody:secret@127.0.0.1:1/none")
    assert facts(cli)["open"] is None
    assert "secret" not in access(cli)
