"""Usage on its way to the database: it arrives once, whatever dies."""

import collections
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import msgspec
import pytest

from triptych.server.accounts.budgets import Budgets
from triptych.server.accounts.journal import Journal, left_behind
from triptych.server.accounts.meter import Meter
from triptych.server.store import usage as statements
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.store import StoreError, open_store
from triptych.server.store.usage import DAY_US, UsageRecord
from triptych.server.store.usage_sums import BY, Total


def row(**more):
    return UsageRecord(
        **{"id": new_id(), "request_id": "r", "owner": "o", "dialect": "openai", "model": "m", "called": "m",
           "reason": "stop", "created_us": now_us(), "price": "{}", "cost_nano": 1, **more}
    )  # fmt: skip


async def ids_in(store):
    return {record.id for record in await store.read(partial(statements.page, owner=None, before=None, limit=10_000))}


def meter_of(store, folder, server="here"):
    return Meter(store, folder, server, Budgets(store, server))


# A server that meters and is killed: it says which rows were recorded, as an answer to a caller would.
_SERVER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_meter import meter_of, row
from triptych.server.store.store import open_store

async def main():
    store = await open_store(Path({data!r}), None)
    meter = meter_of(store, Path({data!r}) / "usage", "killed")
    await meter.start()
    while True:
        record = row()
        meter.record(record)
        print(record.id, flush=True)
        await asyncio.sleep(0.002)

asyncio.run(main())
"""


async def test_what_a_killed_server_recorded_is_brought_in_once_by_the_next(tmp_path):
    script = _SERVER.format(tests=os.path.dirname(__file__), data=str(tmp_path))
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as server:
            told = []
            reader = threading.Thread(target=lambda out, told: told.extend(map(str.strip, out)),
                                      args=(server.stdout, told))  # fmt: skip
            reader.start()
            deadline = time.monotonic() + 60
            while len(told) <= 20:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            server.send_signal(signal.SIGKILL)
            reader.join()
        store = await open_store(tmp_path, None)
        before = await ids_in(store)
        meter = meter_of(store, tmp_path / "usage")
        await meter.start()
        after = await ids_in(store)
        assert set(told) <= after, "a request was answered and its usage is lost"
        [total] = await meter.totals((), None, 0, 10**6)
        assert total.requests == total.cost_nano == len(after) > len(before)
        await meter.stop()
        await store.close()
        assert not list((tmp_path / "usage").iterdir())


async def test_while_the_database_is_away_usage_waits_in_files_and_then_arrives(store, tmp_path, monkeypatch):
    meter = meter_of(store, tmp_path / "usage")
    await meter.start()
    write = store.write

    async def away(work):
        raise StoreError("away")

    monkeypatch.setattr(store, "write", away)
    rows = [row() for _ in range(1200)]
    for each in rows[:700]:
        meter.record(each)
    with pytest.raises(StoreError):
        await meter.flush()
    for each in rows[700:]:
        meter.record(each)
    assert meter.waiting == 1200
    waiting = [msgspec.json.decode(line) for path in sorted((tmp_path / "usage").iterdir())
               for line in path.read_bytes().splitlines()]  # fmt: skip
    assert {each["id"] for each in waiting} == {each.id for each in rows}
    await meter.stop()  # the server ends before the database is back
    monkeypatch.setattr(store, "write", write)
    again = meter_of(store, tmp_path / "usage", "next")
    await again.start()
    assert await ids_in(store) == {each.id for each in rows}
    await again.stop()
    assert not list((tmp_path / "usage").iterdir())


async def test_the_files_of_a_server_that_lives_are_left_alone(store, tmp_path):
    alive = Journal(tmp_path, "alive")
    alive.write(row())
    assert list(left_behind(tmp_path)) == []
    alive.close(keep=True)
    [(server, rows, path)] = left_behind(tmp_path)
    assert (server, len(rows), path.exists()) == ("alive", 1, True)


async def test_half_a_line_at_the_end_of_a_file_spoils_nothing_else(store, tmp_path):
    tmp_path.joinpath("dead.1.jsonl").write_bytes(msgspec.json.encode(row(id="whole")) + b'\n{"id":"ha')
    meter = meter_of(store, tmp_path)
    await meter.start()
    assert await ids_in(store) == {"whole"}
    await meter.stop()


async def test_a_disk_that_is_full_costs_no_request_and_no_row(store, tmp_path, monkeypatch):
    meter = meter_of(store, tmp_path / "usage")
    await meter.start()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    meter.record(row(id="kept"))
    monkeypatch.undo()
    await meter.flush()
    assert await ids_in(store) == {"kept"}
    await meter.stop()


async def test_a_row_comes_back_as_it_was_recorded(store, tmp_path):
    meter = meter_of(store, tmp_path / "usage")
    await meter.start()
    numbers = ("prompt_tokens", "cached_tokens", "image_tokens", "completion_tokens", "images", "captions", "calls",
               "seconds_us", "cost_nano")  # fmt: skip
    told = row(request_id="a", owner="b", dialect="c", model="d", called="e", reason="f", price="g",
               **{name: number for number, name in enumerate(numbers, 1)})  # fmt: skip
    meter.record(told)
    assert await meter.page(None, None, 9) == [told]
    assert await store.read(partial(statements.get, usage_id=told.id)) == told
    await meter.stop()


async def test_every_table_of_sums_agrees_with_the_rows(store, tmp_path):
    meter = meter_of(store, tmp_path / "usage")
    await meter.start()
    rng, rows = random.Random(7), []
    for _ in range(40):
        for _ in range(rng.randrange(4)):  # several transactions add to the same days
            rows.append(row(created_us=rng.randrange(3) * DAY_US, owner=rng.choice("ab"), model=rng.choice("mn"),
                            dialect=rng.choice(("openai", "runware")), cost_nano=rng.randrange(10**14)))  # fmt: skip
            meter.record(rows[-1])
        await meter.flush()
    for size in range(len(BY) + 1):
        for by, owner in itertools.product(itertools.permutations(BY, size), (None, "a")):
            costs = collections.Counter()
            for each in rows:
                if owner in (None, each.owner) and each.day >= 1:
                    costs[tuple(getattr(each, name) for name in by)] += each.cost_nano
            found = await meter.totals(by, owner, 1, 2)
            assert [(total.group, total.cost_nano) for total in found] == sorted(costs.items())
    await meter.stop()


async def test_days_add_up_to_the_rows_by_everything_they_can_be_asked_for(store, tmp_path):
    meter = meter_of(store, tmp_path / "usage")
    await meter.start()
    day = 86_400_000_000
    tokens = {"prompt_tokens": 10, "completion_tokens": 3, "cached_tokens": 4, "image_tokens": 5}
    base = row(**tokens, images=1, captions=1, seconds_us=9)
    for number in range(60):
        meter.record(
            msgspec.structs.replace(
                base, id=new_id(), created_us=(100 + number % 3) * day + number, owner="ab"[number % 2],
                cost_nano=number, model=f"m{number % 5}", dialect=("openai", "runware")[number % 2],
            )
        )  # fmt: skip
    by_day = await meter.totals(("day",), None, 0, 200)
    assert [total.group for total in by_day] == [(100,), (101,), (102,)]
    assert sum(total.cost_nano for total in by_day) == sum(range(60))
    both = await meter.totals(("owner", "model"), "a", 100, 101)
    expected = [n for n in range(0, 60, 2) if n % 3 in (0, 1)]
    assert sum(total.cost_nano for total in both) == sum(expected)
    assert {total.group[0] for total in both} == {"a"}
    assert sum(total.prompt_tokens for total in both) == 10 * len(expected)
    [whole] = await meter.totals((), None, 0, 200)
    assert whole == Total((), 60, 600, 240, 300, 180, 60, 60, 540, sum(range(60)))
    assert await meter.totals((), "nobody", 0, 200) == [Total((), *[0] * 9)]
    assert await meter.totals(("day",), None, 0, 99) == []
    newest = await meter.page("a", None, 5)
    assert [record.owner for record in newest] == ["a"] * 5
    older = await meter.page("a", newest[-1].id, 1000)
    assert len(older) == 25
    await meter.stop()
