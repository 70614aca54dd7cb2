"""`triptych usage` against a running server: sums, rows, and exports that can be added up again."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from http_calls import ask
from key_calls import bearer, new_key
from servers import Running, null_models, serving

import triptych.cli.usage as usage
from triptych.cli import main
from triptych.server.accounts.cost import Price, part
from triptych.server.app import Options

# A call of `eye` costs an odd amount, one of `text` nothing.
NANO = 1_234_567_891
OPTIONS = Options(drain=1, own_prices={"eye": Price((part("call", NANO),), "this test")}, prices="free")


class Usage:
    """The command, on a server that was asked by two keys."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.keys = {"operations": new_key(server, "operations", admin=True)["key"]}
        for name in ("blue", "red, or not"):
            self.keys[name] = new_key(server, name, self.keys["operations"])["key"]
        for name, model, times in (("blue", "eye", 3), ("blue", "text", 1), ("red, or not", "text", 2)):
            for _ in range(times):
                headers = bearer(self.keys[name]) | {"x-request-id": "=1+1"}  # a formula, to a spreadsheet
                assert ask(server.url, "a b", model=model, headers=headers).status == 200
        self.today = time.strftime("%Y-%m-%d", time.gmtime())

    def __call__(self, *words: str, key: str = "operations") -> Result:
        env = {"TRIPTYCH_API_KEY": self.keys[key]}
        return CliRunner().invoke(main, ["usage", *words, "--url", self.server.url], env=env)

    def json(self, *words: str, key: str = "operations") -> Any:
        return json.loads(self(*words, "--json", key=key).stdout)

    def csv(self, *words: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self(*words, "--csv").stdout)))


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Usage]:
    with serving(null_models(), options=OPTIONS, data=tmp_path_factory.mktemp("data")) as server:
        yield Usage(server)


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_days_with_tokens_money_and_a_total(used: Usage) -> None:
    heads, day, total = cells(used().stdout)
    assert heads == ["DAY", "REQUESTS", "PROMPT", "CACHED", "IMAGE", "OUTPUT", "TIME", "COST"]
    numbers = ["6", "12", "0", "0", "12", "0.0", "s", "$3.70"]
    assert day == [used.today, *numbers, "█" * 16]
    assert total == ["total", *numbers]


def test_sums_by_several_things(used: Usage) -> None:
    lines = cells(used("--by", "model,key").stdout)
    assert lines[0][:3] == ["MODEL", "KEY", "REQUESTS"]
    found = {(line[0], line[1]): line for line in lines[1:]}
    assert found["eye", "blue"][2] == "3"
    assert found["eye", "blue"][-1] == "█" * 16
    assert found["text", "blue"][-1] == "$0.00"  # costs nothing, so it has no bar
    assert found["total", "6"]
    assert "API" in used("--by", "dialect").stdout.splitlines()[0]
    whole = used.json("--by", "key,day")
    assert whole["total"]["requests"] == sum(group["requests"] for group in whole["groups"]) == 6


def test_where_nothing_costs_bars_are_of_tokens(used: Usage) -> None:
    lines = cells(used("--by", "model", key="red, or not").stdout)
    assert [lines[1][0], lines[1][-1]] == ["text", "█" * 16]


def test_a_key_sees_its_own_usage(used: Usage) -> None:
    assert used.json("--by", "model", key="red, or not")["total"]["requests"] == 2
    assert {row["key_name"] for row in used.json("--rows", key="blue")} == {"blue"}


def test_rows_the_newest_first(used: Usage) -> None:
    lines = used("--rows").stdout.splitlines()
    assert lines[0].split()[:5] == ["AT", "KEY", "MODEL", "API", "END"]
    assert len(lines) == 7
    assert [row["model"] for row in used.json("--rows")] == ["text"] * 3 + ["eye"] * 3
    assert "this test" in lines[-1]
    assert "$1.23" in lines[-1]
    assert len(used.json("--rows", "--model", "eye")) == 3
    some = used("--rows", "--limit", "4")
    assert len(some.stdout.splitlines()) == 5
    assert some.stderr.startswith("there are older ones")
    assert used("--rows", "--limit", "6").stderr == ""


def test_all_rows_come_page_by_page(used: Usage, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = used.json("--rows")
    for size in (1, 2, 6):
        monkeypatch.setattr(usage, "_PAGE", size)
        assert used.json("--rows") == whole
    assert used.json("--rows", "--limit", "4") == whole[:4]


def test_csv_is_exact(used: Usage) -> None:
    rows = used.csv("--rows")
    assert len(rows) == 6
    assert sum(round(float(row["cost"]) * 1e9) for row in rows) == 3 * NANO
    assert {row["cost"] for row in rows} == {"1.234567891", "0.00"}
    assert rows[0]["created_at"].startswith(used.today)
    assert rows[0]["created_at"].endswith("+00:00")
    assert rows[-1]["bill"]
    assert rows[0]["key_name"] == "red, or not"
    assert {row["request_id"] for row in rows} == {"'=1+1"}
    groups = used.csv("--by", "day,key")
    assert list(groups[0])[:3] == ["day", "key", "key_name"]
    assert sum(int(group["requests"]) for group in groups) == 6


def test_days_limit_sums_and_rows(used: Usage) -> None:
    assert used.json("--since", used.today, "--until", used.today)["total"]["requests"] == 6
    assert len(used.json("--rows", "--since", used.today)) == 6
    past = ("--since", "2020-01-01", "--until", "2020-02-01")
    assert used(*past).stderr == "no usage from 2020-01-01 to 2020-02-01\n"
    assert used("--rows", *past).stderr == "no usage\n"
    assert used("--rows", *past, "--csv").stdout == ""
    assert used.json("--rows", *past) == []


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--by", "hour"], 1, "by takes some of day, key, model, dialect, each once"),
        (["--by", ","], 2, "--by needs something to add up by"),
        (["--since", "yesterday"], 2, "does not match the format"),
        (["--since", "2026-02-01", "--until", "2026-01-01"], 1, "since must be a day up to 3,700 days before until"),
        (["--json", "--csv"], 2, "--csv or --json, not both"),
        (["--model", "eye"], 2, "--model and --limit are for --rows"),
        (["--rows", "--limit", "0"], 2, "is not in the range"),
    ],
)  # fmt: skip
def test_errors_are_one_line(used: Usage, words: list[str], code: int, why: str) -> None:
    answer = used(*words)
    assert (answer.exit_code, answer.stdout) == (code, "")
    assert answer.stderr.count("\n") == 1
    assert why in answer.stderr


def test_no_server_and_no_key(used: Usage) -> None:
    answer = CliRunner().invoke(main, ["usage", "--url", "http://127.0.0.1:9"])
    assert (answer.exit_code, "no server at http://127.0.0.1:9" in answer.stderr) == (1, True)
    answer = CliRunner().invoke(main, ["usage", "--url", used.server.url])
    assert (answer.exit_code, "API key" in answer.stderr) == (1, True)


def test_what_is_little_is_seen_and_what_is_nothing_is_not() -> None:
    assert usage.bar(1e-9, 4) == "▏"
    assert usage.bar(0, 4) == ""
    assert usage.bar(0.5, 4) == "██"
    assert usage.bar(7, 4) == "████"
