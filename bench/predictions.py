"""What durable predictions cost, before a replica that answers at once (tests/support/null_replica.py).

python bench/predictions.py [--cases creates paced readers store idle] [--seconds 10]

The server is a process of its own on one core, with SQLite in a temporary folder. creates: predictions created, waited
for (`Prefer: wait`) and read once more, 64 at a time. paced: 50 creates a second, and how long each takes. readers: 256
readers of event streams at once. store: a page of a list and a worker's claim with 100,000 predictions in the database,
of which all have ended, or all wait (in this process, the statements alone). idle: a server that nobody calls.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

from null_server import Bench, percentile, run, timed
from sqlalchemy import insert

from triptych.server.store import leases
from triptych.server.store import predictions as statements
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.predictions import Filter, PredictionRecord
from triptych.server.store.store import Store, open_store
from triptych.server.store.tables import predictions

STORED = 100_000
ENDED = ("succeeded", "failed", "canceled")


async def create(bench: Bench, prefer: str = "respond-async") -> dict:
    body = {"version": "null", "input": {"prompt": "one two three"}}
    async with bench.http.post("/replicate/v1/predictions", json=body, headers={"prefer": prefer}) as answer:
        assert answer.status == 201, await answer.text()
        return await answer.json()


async def ended(bench: Bench, prediction: dict) -> dict:
    """The prediction when it has ended, by polling as clients do, only faster."""
    while prediction["status"] not in ENDED:
        await asyncio.sleep(0.005)
        async with bench.http.get(f"/replicate/v1/predictions/{prediction['id']}") as answer:
            prediction = await answer.json()
    assert prediction["status"] == "succeeded", prediction
    return prediction


async def creates(seconds: float) -> None:
    async with Bench(seconds, {"answer": "yes"}) as bench:
        await ended(bench, await create(bench))
        done, end, before = 0, time.perf_counter() + seconds, bench.cpu()

        async def one_after_the_other() -> None:
            nonlocal done
            while time.perf_counter() < end:
                prediction = await create(bench, "wait")
                async with bench.http.get(f"/replicate/v1/predictions/{prediction['id']}") as answer:
                    assert (await answer.json())["status"] == "succeeded"
                done += 1

        started = time.perf_counter()
        await asyncio.gather(*(one_after_the_other() for _ in range(64)))
        spent, cpu = time.perf_counter() - started, bench.cpu() - before
        print(f"creates: {done / spent:.0f} created and read a second; server {cpu / done * 1e6:.0f} us of CPU each, "
              f"{done / cpu:.0f}/s on a whole core")  # fmt: skip


async def paced(seconds: float) -> None:
    async with Bench(seconds, {"answer": "yes"}) as bench:
        await ended(bench, await create(bench))
        times: list[float] = []

        async def one() -> None:
            times.append(await timed(lambda: create(bench)))

        tasks, before = [], bench.cpu()
        for _ in range(int(50 * seconds)):
            tasks.append(asyncio.ensure_future(one()))
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)
        cpu = (bench.cpu() - before) / len(tasks)
        print(f"paced: 50 creates a second: p50 {1000 * median(times):.1f} ms, p99 "
              f"{1000 * percentile(times, 99):.1f} ms; server {1e3 * cpu:.2f} ms of CPU each")  # fmt: skip


async def readers(seconds: float) -> None:
    count, words, pace = 256, 64, 0.02
    async with Bench(seconds, {"delay": pace, "answer": " ".join(["word"] * words)}) as bench:
        created = [await create(bench) for _ in range(count // 8)]
        before = bench.cpu()
        lost = 0

        async def read(prediction: dict) -> None:
            nonlocal lost
            async with bench.http.get(prediction["urls"]["stream"]) as answer:
                data = await answer.read()
            lost += words - data.count(b"event: output\n")

        await asyncio.gather(*(read(created[number % len(created)]) for number in range(count)))
        cpu = bench.cpu() - before
        print(f"readers: {count} of {len(created)} streams of {words} events: {lost} events lost; "
              f"{cpu / count / words * 1e6:.0f} us of CPU an event")  # fmt: skip


def _record(number: int, status: str) -> PredictionRecord:
    now = now_us()
    ends = {"completed_us": now} if status in ENDED else {"due_us": now}
    return PredictionRecord(
        id=new_id(), owner="", dialect="replicate", model="null", generation="{}", created_us=now,
        stream_token=str(number), input={"prompt": "x" * 200}, output=("word",) * 20, status=status, **ends,
    )  # fmt: skip


async def _filled(store: Store, status: str) -> None:
    rows = [statements.row_of(_record(number, status)) for number in range(STORED)]
    await store.write(lambda connection: connection.execute(insert(predictions), rows))


async def store(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        opened = await open_store(Path(folder), None)
        await _filled(opened, "succeeded")
        below = (await opened.read(partial(statements.page, only=Filter(owner=""), limit=1)))[0].id
        pages, before = [], time.process_time()
        for _ in range(200):
            page = partial(statements.page, only=Filter(owner="", dialect="replicate", below=below), limit=101)
            pages.append(await timed(lambda page=page: opened.scan(page)))
        page_cpu = (time.process_time() - before) / len(pages)
        await opened.close()
    with tempfile.TemporaryDirectory() as folder:
        opened = await open_store(Path(folder), None)
        await _filled(opened, "starting")
        claims, before = [], time.process_time()
        for _ in range(200):
            now = now_us()
            claim = partial(
                leases.claim, worker="w", model="null", now_us=now, until_us=now + 60_000_000, limit=1
            )
            claims.append(await timed(lambda claim=claim: opened.write(claim)))
        claim_cpu = (time.process_time() - before) / len(claims)
        await opened.close()
    print(f"store: with {STORED} predictions a page of 100 takes p50 {1000 * median(pages):.1f} ms, p99 "
          f"{1000 * percentile(pages, 99):.1f} ms, {1000 * page_cpu:.1f} ms of CPU; a claim p50 "
          f"{1000 * median(claims):.2f} ms, p99 {1000 * percentile(claims, 99):.2f} ms, {1000 * claim_cpu:.2f} ms of "
          f"CPU")  # fmt: skip


async def idle(seconds: float) -> None:
    async with Bench(seconds, {}) as bench:
        await ended(bench, await create(bench))
        await bench.rest()


CASES = (creates, paced, readers, store, idle)

if __name__ == "__main__":
    run(__doc__, {case.__name__: case for case in CASES})
