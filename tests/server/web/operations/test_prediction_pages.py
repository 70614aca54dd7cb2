"""A prediction's page: what it says is what is stored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import call
from page_calls import assert_nothing_runs, page, read, send_form, text_of
from prediction_page import LIST, any_picture, asked, settled, stored
from runware_calls import URI
from servers import Running, null_models, serving

from triptych.server.accounts.cost import Price, part
from triptych.server.app import Options

HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)>"\'&{{7*7}}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database: str | None) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("data")
    with serving(null_models(), any_picture, data=data, database=database) as running:
        yield running


def test_a_prediction_is_told_whole_and_true(server: Running) -> None:
    made = asked(server, "one two three", image=URI)
    html, found = settled(server, made["id"]), stored(server, made["id"])
    assert_nothing_runs(html)
    text = text_of(html)
    assert "".join(made["output"]) in text
    assert "one two three" in text
    for line in found["logs"].splitlines():
        assert line in text
    for words in (
        "succeeded", f"Prompt {found['prompt_tokens']:,}", f"pictures {found['image_tokens']:,}",
        f"from the cache {found['cached_tokens']:,}", "Where the time went", "Nobody asked to be told",
        "Run again",
    ):  # fmt: skip
        assert words in text.replace("  ", " "), words
    assert "Cancel" not in text
    assert "Not priced" in text


def test_what_a_prediction_cost_and_how_that_comes_about(tmp_path: Path) -> None:
    price = Price((part("input", 2_000_000_000), part("output", 5_000_000_000)), "the price of this test")
    options = Options(drain=1, own_prices={"eye": price})
    with serving(null_models(), options=options, data=tmp_path) as server:
        made = asked(server, "one two three four")
        found, text = stored(server, made["id"]), text_of(settled(server, made["id"]))
        nano = found["prompt_tokens"] * 2000 + found["completion_tokens"] * 5000
        assert f"${nano / 1e9:.6f}" in text
        assert f"{found['completion_tokens']} output tokens x $5.00 / 1M" in text
        assert "the price of this test" in text
        assert "the price of this test" in text_of(page(server.url, "/app/usage"))


def test_the_picture_of_a_prediction_is_a_small_copy(server: Running) -> None:
    made = asked(server, image=URI)
    [source] = [
        attributes["src"] for tag, attributes in read(page(server.url, f"{LIST}/{made['id']}"))[0] if tag == "img"
    ]
    reply = call(server.url, "GET", source or "")
    assert (reply.status, reply.headers["content-type"]) == (200, "image/webp")
    assert reply.body[8:12] == b"WEBP"
    assert reply.headers["x-content-type-options"] == "nosniff"
    for number in ("1", "99999999999999999999"):
        assert call(server.url, "GET", f"{LIST}/{made['id']}/pictures/{number}").status == 404


def test_a_picture_of_another_server_is_never_loaded(server: Running) -> None:
    made = asked(server, image="https://elsewhere.example/x.png")
    html = page(server.url, f"{LIST}/{made['id']}")
    assert "https://elsewhere.example/x.png" in text_of(html)
    assert not [tag for tag, _ in read(html)[0] if tag == "img"]


def test_of_a_failure_the_reason_is_told(tmp_path: Path) -> None:
    with serving(null_models(fail="no <b>weights</b> here"), data=tmp_path) as server:
        made = asked(server)
        assert made["status"] == "failed"
        html = page(server.url, f"{LIST}/{made['id']}")
        assert made["error"] in text_of(html)
        assert "no <b>weights</b> here" in text_of(page(server.url, LIST))
        assert "<b>" not in html


def test_what_was_removed_is_said_to_be(tmp_path: Path) -> None:
    with serving(null_models(), options=Options(drain=1, retention=0.001), data=tmp_path) as server:
        made = asked(server, "forget me please")
    with serving(null_models(), options=Options(drain=1, retention=0.001), data=tmp_path) as server:
        deadline = time.monotonic() + 10
        while not stored(server, made["id"])["data_removed"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        text = text_of(page(server.url, f"{LIST}/{made['id']}"))
        assert "forget me" not in text
        assert "removed" in text
        assert "Run again" not in text
        assert send_form(server.url, f"{LIST}/{made['id']}/retry").status == 409


@pytest.mark.parametrize("prediction_id", ["0" * 26, "nobody", "a-b", "x" * 300, "%00", "%3Cscript%3E"])
def test_one_that_is_not_there(server: Running, prediction_id: str) -> None:
    html = page(server.url, f"{LIST}/{prediction_id}", 404)
    assert "No such prediction" in text_of(html)
    assert_nothing_runs(html)


def test_hostile_text_is_shown_and_never_taken_for_html(server: Running) -> None:
    hook = {"webhook": "https://hooks.example/?<script>alert(1)</script>"}
    made = asked(server, HOSTILE, fields=hook, **{HOSTILE: HOSTILE})
    for path in (LIST, f"{LIST}/{made['id']}", "/app/webhooks"):
        html = page(server.url, path)
        assert_nothing_runs(html)
        assert "<script>alert" not in html
    text = text_of(page(server.url, f"{LIST}/{made['id']}"))
    assert HOSTILE in text
    assert "49" not in text.partition("Input")[2].partition("Log")[0]
