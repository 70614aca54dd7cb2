"""Price lists are read when they are due, by one process, and what is wrong with a list is told and does no harm."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from list_host import list_host

from triptych.catalogue.errors import RefreshError
from triptych.catalogue.load import load, record_folder, recorded, today
from triptych.catalogue.refresh import refresh
from triptych.server import catalogue_refresh
from triptych.server.catalogue import Shelf
from triptych.server.catalogue_refresh import CatalogueRefresh, Pace, Tried
from triptych.server.store.lock import FolderLock

LIST = json.dumps({"replicate/mistralai/mixtral-8x7b-instruct-v0.1": {
    "litellm_provider": "replicate", "input_cost_per_token": 3.5e-07, "output_cost_per_token": 1e-06,
}}).encode()  # fmt: skip
WEEK = 7 * 86_400.0


class Host:
    """A host with one list, and how often it was asked for it."""

    def __init__(self) -> None:
        self.asked = 0
        self.body: bytes | None = LIST
        self.url = ""

    def answer(self, handler: Any) -> None:
        self.asked += 1
        handler.send_response(200 if self.body else 503)
        handler.end_headers()
        handler.wfile.write(self.body or b"")


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    with list_host({"/list.json?key=secret": made.answer}) as url:
        made.url = f"{url}/list.json?key=secret"
        yield made


@pytest.fixture
def later(monkeypatch) -> Callable[[float], None]:
    """Moves the clock on by seconds."""
    moved = 0.0

    def move(seconds: float) -> None:
        nonlocal moved
        moved += seconds

    clock = SimpleNamespace(time=lambda: time.time() + moved)
    monkeypatch.setattr(catalogue_refresh, "time", clock)
    return move


def made(data: Path, *lists: str, pace: Pace = Pace(WEEK)) -> CatalogueRefresh:  # noqa: B008 - it is frozen
    return CatalogueRefresh(data, lists, pace)


# ---- when a list is read --------------------------------------------------------------------------------------------


def test_a_list_is_recorded_and_read_again_when_it_is_due(tmp_path, host, later):
    keeper = made(tmp_path, host.url)
    keeper.look()
    [record] = recorded(tmp_path)
    route = load(tmp_path).routes["replicate/mixtral-8x7b"]
    assert load(tmp_path).prices(route, today())["input"].component.nano == 350_000_000
    later(WEEK - 60)
    keeper.look()
    made(tmp_path, host.url).look()
    assert host.asked == 1
    later(120)
    keeper.look()
    assert (host.asked, recorded(tmp_path), keeper.failed) == (2, [record], ())


def test_what_was_read_by_hand_is_not_due(tmp_path, host, later):
    refresh(host.url, tmp_path, today())
    keeper = made(tmp_path, host.url)
    keeper.look()
    assert host.asked == 1
    later(WEEK + 86_400)
    keeper.look()
    assert host.asked == 2


def test_of_several_processes_one_reads(tmp_path, host):
    folder = record_folder(tmp_path)
    folder.mkdir()
    other = FolderLock(folder)
    made(tmp_path, host.url).look()
    assert host.asked == 0
    other.release()
    made(tmp_path, host.url).look()
    made(tmp_path, host.url).look()
    assert host.asked == 1


def test_a_clock_that_was_ahead_keeps_no_list_from_being_read(tmp_path, host, later):
    later(400 * 86_400)
    keeper = made(tmp_path, host.url)
    keeper.look()
    later(-400 * 86_400)
    keeper.look()
    assert host.asked == 2


def test_the_pauses_after_failures_grow_up_to_a_day():
    pace, now = Pace(WEEK), 1e9
    assert pace.due(Tried(), now) <= now
    assert pace.due(Tried(read=now), now) == now + WEEK
    pauses = [pace.due(Tried(0, now, failures, "x"), now) - now for failures in (1, 2, 3, 7, 8, 10**6)]
    assert pauses == [900, 1800, 3600, 57_600, 86_400, 86_400]
    assert pace.due(Tried(now - 60, now, 1, "x"), now) == now - 60 + WEEK


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_failure_is_one_line_in_the_log_and_told_and_over_when_the_list_is_back(tmp_path, host, later, caplog):
    caplog.set_level(logging.INFO, "triptych.server")
    refresh(host.url, tmp_path, today())
    before = recorded(tmp_path)
    later(WEEK + 86_400)
    host.body = None
    keeper = made(tmp_path, host.url)
    pause = keeper.look()
    [line] = [record.getMessage() for record in caplog.records]
    assert "answered 503" in line
    assert "are kept" in line
    [failed] = keeper.failed
    assert failed.list == host.url.partition("?")[0]
    assert failed.why.startswith("it answered 503; the prices of ")
    assert "secret" not in f"{line}{failed}"
    assert recorded(tmp_path) == before
    assert 600 < pause < 1200
    keeper.look()
    assert host.asked == 2
    assert made(tmp_path, host.url)._failed == ()
    again = made(tmp_path, host.url)
    again.look()
    assert again.failed == (failed,)
    later(1000)
    host.body = LIST
    keeper.look()
    assert (host.asked, keeper.failed) == (3, ())


@pytest.mark.parametrize("body", [b"no json", b"{}", b"[" * 100_000, b'{"a": {"litellm_provider": 1}}'])
def test_a_list_that_is_none_changes_nothing(tmp_path, host, body):
    host.body = body
    keeper = made(tmp_path, host.url, "/nowhere/list.json")
    keeper.look()
    assert recorded(tmp_path) == []
    assert [failed.list for failed in keeper.failed] == [host.url.partition("?")[0], "list.json"]
    assert "there is no such file" in keeper.failed[1].why


def test_a_failure_that_nobody_thought_of_stops_nothing(tmp_path, host, monkeypatch):
    def fail(place: str, data: Path, on: date) -> None:
        raise RecursionError

    monkeypatch.setattr(catalogue_refresh, "refresh", fail)
    keeper = made(tmp_path, host.url)
    keeper.look()
    assert [failed.why for failed in keeper.failed] == ["RecursionError"]


def test_a_folder_that_cannot_be_written_is_told_in_the_log(tmp_path, host, caplog):
    (tmp_path / "catalogue").write_text("a file in its place")
    assert made(tmp_path, host.url).look() > 2000
    assert "price lists are not refreshed" in caplog.text


def test_what_was_kept_and_is_damaged_is_as_if_nothing_was(tmp_path, host):
    record_folder(tmp_path).mkdir()
    (record_folder(tmp_path) / ".refresh.json").write_text('{"a": ')
    made(tmp_path, host.url).look()
    assert host.asked == 1


# ---- in the server --------------------------------------------------------------------------------------------------


async def test_the_answers_say_what_failed_until_it_is_over(tmp_path, host, later):
    keeper = made(tmp_path, host.url)
    shelf = Shelf(tmp_path, keeper)
    service: Any = SimpleNamespace(router=SimpleNamespace(models=[]))
    assert (await shelf.snapshot(service)).views.freshness().failed == []
    host.body = None
    keeper.look()
    assert (await shelf.snapshot(service)).views.freshness().failed == list(keeper.failed)
    later(1000)
    host.body = LIST
    keeper.look()
    freshness = (await shelf.snapshot(service)).views.freshness()
    assert (freshness.failed, freshness.newest) == ([], today())


async def test_it_works_by_itself_and_a_list_that_hangs_keeps_no_server_from_ending(tmp_path, monkeypatch):
    asked, let_go = threading.Event(), threading.Event()

    def hang(place: str, data: Path, on: date) -> None:
        asked.set()
        let_go.wait(60)
        raise RefreshError("too late")

    monkeypatch.setattr(catalogue_refresh, "refresh", hang)
    keeper = made(tmp_path, "https://lists.example/a", pace=Pace(WEEK, first=(0.0, 0.0)))
    await keeper.start()
    assert asked.wait(30)
    await keeper.stop()
    assert keeper.failed == ()
    [thread] = [each for each in threading.enumerate() if each.name == "price lists"]
    assert thread.daemon
    let_go.set()
    thread.join(30)
    assert not thread.is_alive()
