"""`triptych config`: what counts, where it came from, and nothing secret."""

from __future__ import annotations

import json
import os

import pytest

from triptych import embedded
from triptych.server import settings

SECRET = "sk-do-not-show-me"


@pytest.fixture(autouse=True)
def empty_place(monkeypatch, tmp_path):
    """A folder without a settings file, no variables of ours, and a home without a server's data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("TRIPTYCH_")]:
        monkeypatch.delenv(name)


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split(maxsplit=1)[1:] for line in text.splitlines()}


def test_all_settings_in_aligned_columns(cli):
    result = cli("config")
    assert result.exit_code == 0
    file, access, head, *lines = result.stdout.splitlines()
    assert file == "settings file: none"
    assert access == "access: open to everybody who reaches the server: there is no key"
    assert head.split() == ["setting", "value", "from"]
    assert list(rows("\n".join(lines))) == list(settings.KINDS)
    assert [line.split()[1] for line in lines if line.startswith("models")] == list(embedded.NAMES)
    assert {line[head.index("value") - 1] for line in lines} == {" "}
    assert all(line[head.index("from") :] == "default" for line in lines)
    assert cli.engines == []


def test_where_each_came_from(cli, monkeypatch, tmp_path):
    (tmp_path / "triptych.toml").write_text(f'port = 1234\nmax_body = "1M"\nkeys = ["{SECRET}", "other"]')
    monkeypatch.setenv("TRIPTYCH_MAX_BODY", "2M")
    text = cli("config").stdout
    assert text.startswith("settings file: triptych.toml\n")
    assert SECRET not in text
    found = {name: " ".join(rest[0].split()) for name, rest in rows(text).items()}
    assert found["port"] == "1234 triptych.toml"
    assert found["max_body"] == "2M TRIPTYCH_MAX_BODY"
    assert found["keys"] == "set (2) triptych.toml"
    assert found["memory_limit"] == "none default"


def test_json_and_a_named_file(cli, tmp_path):
    path = tmp_path / "other.toml"
    path.write_text(f'[[models]]\nname = "big"\nupstream = {{ base_url = "http://gpu/v1", key = "{SECRET}" }}')
    result = cli("config", "--json", "--file", path)
    facts = json.loads(result.stdout)
    assert facts["file"] == str(path)
    assert list(facts["settings"]) == list(settings.KINDS)
    assert facts["settings"]["port"] == {"value": 8000, "source": "default"}
    models = facts["settings"]["models"]
    assert models["source"] == str(path)
    assert models["value"][0]["upstream"] == {
        "base_url": "http://gpu/v1", "model": "big", "key": "set", "key_env": "", "kind": "auto",
    }  # fmt: skip
    assert SECRET not in result.stdout
    assert json.loads(cli("config", "--json").stdout)["file"] is None


def test_what_is_wrong_is_one_line(cli, tmp_path):
    path = tmp_path / "other.toml"
    path.write_text("prot = 1")
    for words, problem in (([path], "unknown setting prot; did you mean port?"), (["none.toml"], "cannot be read")):
        result = cli("config", "--file", *words)
        assert result.exit_code == 1
        assert problem in result.stderr
        assert (result.stdout, result.stderr.count("\n")) == ("", 1)


def test_settings_that_would_not_start_are_shown_and_are_an_error(cli, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_HOST", "0.0.0.0")
    result = cli("config")
    assert result.exit_code == 1
    assert "0.0.0.0" in result.stdout
    assert result.stderr.startswith("error: TRIPTYCH_HOST: host 0.0.0.0 can be reached from other machines")
    monkeypatch.setenv("TRIPTYCH_KEYS", SECRET)
    assert cli("config").exit_code == 0
