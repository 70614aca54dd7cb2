"""`triptych keys` against a running server: what is printed where, and what every option does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from key_calls import by_openai, new_key, order
from servers import Running, null_models, serving

from triptych.cli import main
from triptych.server.accounts.cost import Price, part
from triptych.server.app import Options

OPTIONS = Options(drain=1, own_prices={"eye": Price((part("call", 10**9),), "this test")})


def run(server: Running | str, *words: str, key: str = "", stdin: str | None = None) -> Result:
    url = server if isinstance(server, str) else server.url
    return CliRunner().invoke(main, ["keys", *words, "--url", url], input=stdin, env={"TRIPTYCH_API_KEY": key})


class Keys:
    """The command with an administrator's key."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.admin = str(new_key(server, "operations", admin=True)["key"])

    def __call__(self, *words: str, stdin: str | None = None) -> Result:
        return run(self.server, *words, key=self.admin, stdin=stdin)

    def json(self, *words: str) -> Any:
        answer = self(*words, "--json")
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.stdout)

    def works(self, secret: str) -> bool:
        return order(self.server, "GET", "/key", key=secret.strip()).status == 200


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    with serving(null_models(), options=OPTIONS, data=tmp_path_factory.mktemp("data")) as server:
        yield Keys(server)


def test_a_budget_that_does_not_hold_everything_is_warned_of(keys: Keys) -> None:
    told = "warning: the budget does not hold back calls by names that have no price, which there are of text: give"
    answer = keys("create", "leaky", "--budget", "5")
    assert told in answer.stderr
    assert answer.stdout.startswith("tp_")
    answer = keys("create", "tight", "--budget", "5", "--model", "eye")
    assert "warning" not in answer.stderr
    made = order(keys.server, "GET", "/key", key=answer.stdout.strip()).json["key"]
    assert told in keys("change", made["id"], "--model", "all").stderr


def test_without_a_key_commands_say_how_to_give_one(keys: Keys) -> None:
    assert "TRIPTYCH_API_KEY" in run(keys.server).stderr
    assert "TRIPTYCH_API_KEY" not in run(keys.server, key="wrong").stderr


def test_the_first_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(null_models(), data=tmp_path_factory.mktemp("data")) as server:
        assert (run(server).stdout, run(server).stderr) == ("", "no keys\n")
        assert run(server, "me").stdout.splitlines()[0].split() == ["name", "everybody"]
        answer = run(server, "create", "team")
        assert (answer.exit_code, answer.stdout) == (1, "")
        assert "The first key must be an administrator's" in answer.stderr
        answer = run(server, "create", "operations", "--admin")
        assert answer.exit_code == 0
        assert "from now on the server asks for keys" in answer.stderr
        assert "API key" in run(server, "list").stderr
        assert run(server, "list", key=answer.stdout.strip()).stdout.splitlines()[1].startswith("operations")


def test_a_secret_stands_alone_on_stdout(keys: Keys) -> None:
    answer = keys("create", "piped")
    assert answer.stdout.count("\n") == 1
    assert keys.works(answer.stdout)
    assert answer.stdout.strip() not in answer.stderr
    assert "'piped'" in answer.stderr
    assert "shown this once only" in answer.stderr
    assert "from now on" not in answer.stderr


def test_every_option_of_a_new_key(keys: Keys) -> None:
    words = ["--model", "eye", "--model", "text", "--dialect", "runware", "--requests-per-minute", "1200",
             "--tokens-per-minute", "90000", "--budget", "25", "--per", "week", "--expires", "90d"]  # fmt: skip
    made = keys.json("create", "team blue", *words)
    assert keys.works(made["key"])
    assert (made["models"], made["dialects"]) == (["eye", "text"], ["runware"])
    assert (made["requests_per_minute"], made["tokens_per_minute"]) == (1200, 90000)
    assert (made["budget"]["limit"], made["budget"]["per"]) == (25, "week")
    assert made["expires_at"] - made["created_at"] == pytest.approx(90 * 86_400, abs=5)
    assert not made["admin"]
    line = next(line for line in keys().stdout.splitlines() if line.startswith("team blue"))
    for told in (made["start"], made["id"], "active", "eye, text; runware", "1,200 requests/min, 90,000 tokens/min",
                 "$0.00 of $25.00 this week"):  # fmt: skip
        assert told in line
    assert made["key"] not in keys().output


def test_a_list_shows_what_was_spent(keys: Keys) -> None:
    assert keys().stdout == keys("list").stdout
    made = keys.json("create", "spender", "--budget", "4", "--per", "total")
    assert by_openai(keys.server, made["key"]).status == 200
    line = next(line for line in keys().stdout.splitlines() if line.startswith("spender"))
    assert "$1.00 of $4.00 in all ██" in line
    shown = keys("show", made["id"]).stdout.splitlines()
    assert [line.split(maxsplit=1) for line in shown if line.startswith(("budget", "expires"))] == [
        ["budget", "$1.00 of $4.00 in all ██"], ["expires", "never"],
    ]  # fmt: skip
    mine = run(keys.server, "me", key=made["key"])
    assert mine.stdout.splitlines() == shown
    whole = json.loads(run(keys.server, "me", "--json", key=made["key"]).stdout)
    assert whole["key"] == keys.json("show", made["id"])
    assert run(keys.server, "list", key=made["key"]).stderr == "error: This is for keys of administrators.\n"


def test_a_change_touches_what_is_named(keys: Keys) -> None:
    made = keys.json("create", "before", "--model", "eye", "--budget", "5", "--expires", "1d")
    changed = keys.json("change", made["id"], "--name", "after", "--requests-per-minute", "7")
    assert changed == {
        name: value for name, value in made.items() if name != "key"
    } | {"name": "after", "requests_per_minute": 7}  # fmt: skip
    freed = keys.json("change", made["id"], "--model", "all", "--budget", "none", "--expires", "never",
                      "--requests-per-minute", "none", "--dialect", "all")  # fmt: skip
    assert [freed[name] for name in ("models", "dialects", "budget", "expires_at", "requests_per_minute")] == [None] * 5
    assert keys.works(made["key"])
    assert "no limit" in keys("change", made["id"], "--name", "again").stdout
    assert keys("change", made["id"]).exit_code == 2


def test_a_rotation_prints_the_new_secret(keys: Keys) -> None:
    made = keys.json("create", "turning")
    answer = keys("rotate", made["id"], "--overlap", "1h")
    assert answer.stdout.count("\n") == 1
    assert "the old one goes on to let in for 60 min" in answer.stderr
    assert [keys.works(made["key"]), keys.works(answer.stdout)] == [True, True]
    assert "The old secret may last 0 to 2592000 seconds" in keys("rotate", made["id"], "--overlap", "31d").stderr
    again = keys("rotate", made["id"])
    assert "the old one lets in no more" in again.stderr
    assert [keys.works(answer.stdout), keys.works(again.stdout)] == [False, True]


def test_a_key_is_taken_away_after_a_question(keys: Keys) -> None:
    made = keys.json("create", "going")
    answer = keys("revoke", made["id"], stdin="n\n")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert f"Revoke 'going' ({made['start']}...) for ever?" in answer.stderr
    assert keys("revoke", made["id"], stdin="").exit_code == 130
    assert keys.works(made["key"])
    assert keys("revoke", made["id"], stdin="y\n").stdout == f"{made['id']} is revoked\n"
    assert not keys.works(made["key"])
    other = keys.json("create", "going too")
    assert keys("revoke", other["id"], "--yes").stdout == f"{other['id']} is revoked\n"
    assert "or it was revoked" in keys("revoke", other["id"], "--yes").stderr
    own = keys.json("me")["key"]["id"]
    assert "A key cannot revoke itself" in keys("revoke", own, "--yes").stderr


@pytest.mark.parametrize("verb", ["show", "change", "rotate", "revoke"])
def test_a_key_that_is_not_there(keys: Keys, verb: str) -> None:
    more = ["--name", "x"] if verb == "change" else []
    for wanted in ("0" * 26, "team blue", "%00"):
        answer = keys(verb, wanted, *more)
        assert answer.exit_code == 1
        assert f"There is no key '{wanted}'" in answer.stderr


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["create"], 2, "Missing argument 'NAME'"),
        (["create", " "], 1, "A key needs a name"),
        (["create", "x", "--model", "nobody"], 1, "The model 'nobody' is not served; there are eye, text"),
        (["create", "x", "--dialect", "http"], 2, "is not one of 'openai', 'replicate', 'runware', 'all'"),
        (["create", "x", "--requests-per-minute", "0"], 2, "is not in the range x>=1"),
        (["create", "x", "--tokens-per-minute", "many"], 2, "is not a valid integer"),
        (["create", "x", "--budget", "much"], 1, "budget must be an amount of dollars, such as 12.50, not 'much'"),
        (["create", "x", "--budget", "-1"], 1, "budget must be at least 0"),
        (["create", "x", "--per", "day"], 2, "--per is the period of a --budget"),
        (["create", "x", "--budget", "1", "--per", "year"], 2, "is not one of 'day', 'week', 'month', 'total'"),
        (["create", "x", "--expires", "soon"], 2, "is not a length of time"),
        (["create", "x", "--expires", "0s"], 1, "A key must expire in the future"),
        (["rotate", "x", "--overlap", "long"], 2, "is not a length of time"),
        (["--json", "create"], 2, "unexpected extra argument (create)"),
        (["lists"], 2, "No such command 'lists'"),
    ],
)  # fmt: skip
def test_errors_are_one_line_with_a_way_out(keys: Keys, words: list[str], code: int, why: str) -> None:
    before = keys("list", "--json").stdout
    answer = keys(*words)
    assert (answer.exit_code, answer.stdout) == (code, "")
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1
    assert why in answer.stderr
    assert keys("list", "--json").stdout == before


def test_no_server() -> None:
    for words in (["list"], ["me"], ["revoke", "x", "--yes"]):
        assert "start one with `triptych serve`\n" in run("http://127.0.0.1:9", *words).stderr
    answer = run("http://127.0.0.1:9", "create", "operations", "--admin")
    assert answer.exit_code == 1
    assert "start one with `triptych serve`; then make the key: running servers alone keep keys" in answer.stderr


def test_help_is_there_without_a_server() -> None:
    answer = CliRunner().invoke(main, ["keys", "--help"])
    assert answer.exit_code == 0
    assert all(word in answer.stdout for word in ("create", "rotate", "revoke", "me"))
