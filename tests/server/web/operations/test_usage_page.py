"""The page about usage says what the usage says, to those whose it is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pytest
from http_calls import ask, call
from page_calls import assert_nothing_runs, links, page, text_of
from servers import Running, null_models, serving

from triptych.server.app import Options

PATH = "/app/usage"
ADMIN = {"authorization": "Bearer chief"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database: str | None) -> Iterator[Running]:
    options = Options(keys=("chief",), drain=1)
    data = tmp_path_factory.mktemp("data")
    with serving(null_models(), options=options, data=data, database=database) as running:
        yield running


@pytest.fixture(scope="module")
def worker(server: Running) -> dict[str, str]:
    """A key that is no admin's, with which two models were asked; its name begins as a formula does."""
    made = call(server.url, "POST", "/triptych/v1/keys", {"name": '=cmd|"x"'}, ADMIN).json
    key = {"authorization": f"Bearer {made['key']}"}
    for model, text in (("eye", "one two three"), ("text", "four five")):
        assert ask(server.url, text, model, key).status == 200
    assert ask(server.url, "of the chief", "eye", ADMIN).status == 200
    return key


def whole(server: Running, key: dict[str, str]) -> dict[str, int]:
    return call(server.url, "GET", "/triptych/v1/usage?by=model", headers=key).json["total"]


def test_it_adds_up_what_was_used(server: Running, worker: dict[str, str]) -> None:
    for key in (worker, ADMIN):
        html, total = page(server.url, PATH, headers=key), whole(server, key)
        assert_nothing_runs(html)
        text = text_of(html)
        assert f"Requests {total['requests']} " in text
        assert f"Tokens read {total['prompt_tokens']:,} " in text
        assert f"Tokens written {total['completion_tokens']:,} " in text
    assert whole(server, ADMIN)["requests"] == whole(server, worker)["requests"] + 1


def test_others_see_their_own_usage_whatever_they_ask_for(server: Running, worker: dict[str, str]) -> None:
    for query in ("", "?key=", "?by=key", f"?key={'x' * 26}"):
        text = text_of(page(server.url, PATH + query, headers=worker))
        assert "What your key used" in text
        assert f"Requests {whole(server, worker)['requests']} " in text
        assert "By key" not in text
        assert "of the settings" not in text


def test_an_admin_looks_at_one_key(server: Running, worker: dict[str, str]) -> None:
    html = page(server.url, PATH, headers=ADMIN)
    assert '=cmd|"x"' in text_of(html)
    of_keys = [link for link in links(html) if "key=" in link and ".csv" not in link]
    texts = [text_of(page(server.url, link, headers=ADMIN)) for link in of_keys]
    assert any('What “=cmd|"x"” used' in text and "Requests 2 " in text for text in texts)


def test_the_table_is_the_same_and_no_spreadsheet_computes_in_it(server: Running, worker: dict[str, str]) -> None:
    reply = call(server.url, "GET", f"{PATH}.csv?days=7", headers=ADMIN)
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.headers["content-disposition"].startswith('attachment; filename="usage-')
    rows = list(csv.DictReader(io.StringIO(reply.body.decode())))
    total = whole(server, ADMIN)
    for name in ("requests", "prompt_tokens", "completion_tokens"):
        assert sum(int(row[name]) for row in rows) == total[name]
    assert {row["model"] for row in rows} == {"eye", "text"}
    assert "'=cmd|\"x\"" in {row["key"] for row in rows}
    own = list(csv.DictReader(io.StringIO(call(server.url, "GET", f"{PATH}.csv", headers=worker).body.decode())))
    assert sum(int(row["requests"]) for row in own) == 2


@pytest.mark.parametrize("query", ["days=8", "days=x", "days=-7", "by=colour", "days=9999999999999"])
def test_what_cannot_be_asked_for(server: Running, query: str) -> None:
    assert_nothing_runs(page(server.url, f"{PATH}?{query}", 400, ADMIN))


@pytest.mark.parametrize("days", [7, 30, 90, 365])
@pytest.mark.parametrize("by", ["model", "key", "dialect"])
def test_every_period_and_order(server: Running, worker: dict[str, str], days: int, by: str) -> None:
    text = text_of(page(server.url, f"{PATH}?days={days}&by={by}", headers=ADMIN))
    assert f"in the last {days} days" in text


def test_nothing_used() -> None:
    with serving(null_models(), options=Options(keys=("chief",), drain=1)) as server:
        assert call(server.url, "GET", PATH, headers=ADMIN).status == 404  # nothing is kept there
