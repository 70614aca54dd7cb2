"""The pages of predictions while they are looked at: they are told what changes, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from http_calls import call
from page_calls import page, polled, send_form, text_of
from prediction_page import LIST, any_picture, asked, until
from servers import Running, null_models, serving


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(null_models(delay=0.2), any_picture, data=tmp_path_factory.mktemp("data")) as running:
        yield running


def test_a_page_is_told_what_changes_until_nothing_can(slow: Running) -> None:
    made = asked(slow, " ".join(["word"] * 5), wait=False)
    listed, whole = page(slow.url, LIST), page(slow.url, f"{LIST}/{made['id']}")
    row, parts = polled(listed), polled(whole)
    assert row is not None
    assert parts is not None
    until(slow, made["id"], "succeeded")
    told = call(slow.url, "GET", row).body.decode()
    assert f'id="p-{made["id"]}" hx-swap-oob="true"' in told
    assert "succeeded" in told
    assert polled(told) is None
    told = call(slow.url, "GET", parts).body.decode()
    assert "word word word" in text_of(told)
    assert "<html" not in told
    deadline = time.monotonic() + 10
    while (parts := polled(told)) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        told = call(slow.url, "GET", parts).body.decode() or told
    assert call(slow.url, "GET", f"{LIST}/{made['id']}").status == 200


def test_nothing_new_is_no_content(slow: Running) -> None:
    made = asked(slow, " ".join(["word"] * 300), wait=False)
    until(slow, made["id"], "processing")
    row = polled(page(slow.url, LIST))
    assert row is not None
    assert call(slow.url, "GET", row).status == 204
    send_form(slow.url, f"{LIST}/{made['id']}/cancel")


def test_hostile_words_for_what_was_seen(slow: Running) -> None:
    for seen in ("", "x", "p-nobody.00000000", "p-%27.00000000", "~" * 1000):
        reply = call(slow.url, "GET", f"{LIST}?seen={seen}")
        assert reply.status == 200
        assert polled(reply.body.decode()) is None
