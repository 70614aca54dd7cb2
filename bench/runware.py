"""What Runware's tasks cost, before a replica that answers at once (tests/support/null_replica.py).

python bench/runware.py [--cases batches inline idle pinging flight upload] [--seconds 10]

The server is a process of its own on one core, with SQLite in a temporary folder. batches: captions of an uploaded
image over HTTP, ten in an array, six arrays at a time. inline: the same with a new image of 5 KB written into every
task. idle: 1,000 WebSockets with a session each, of which none says a word: memory added, and CPU (the server pings
each every 30 s). pinging: the same, each sending Runware's ping every 5 s, as one client does. flight: 64 tasks of one
WebSocket at once, whose answers take from 0.1 to 1.6 s: how long after its end each is heard. upload: an image of
12 MiB in one frame: memory at its peak, above what was there before.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from statistics import median
from typing import Any

from null_server import Bench, percentile, run
from websockets.asyncio.client import ClientConnection, connect

ARRAY, AT_ONCE, SOCKETS, FLIGHT = 10, 6, 1000, 64
# What makes the first bytes of a PNG; the null replica decodes none.
PNG = b"\x89PNG\r\n\x1a\n"


def written(size: int) -> str:
    """A new image as base64."""
    return base64.b64encode(PNG + os.urandom(size - len(PNG))).decode()


def caption(image: str, **fields: Any) -> dict[str, Any]:
    task = {"taskType": "caption", "taskUUID": str(uuid.uuid4()), "model": "null", "inputs": {"image": image}}
    return task | {"prompt": "one two three"} | fields


async def post(bench: Bench, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    async with bench.http.post("/v1", json=tasks) as answer:
        body = await answer.json()
        assert answer.status == 200, body
        assert "errors" not in body, body
        return body["data"]


async def uploaded(bench: Bench) -> str:
    task = {"taskType": "imageUpload", "taskUUID": str(uuid.uuid4()), "image": written(5000)}
    return (await post(bench, [task]))[0]["imageUUID"]


async def _arrays(bench: Bench, name: str, images: Iterator[str]) -> None:
    """Arrays of captions one after the other, several at a time."""
    await post(bench, [caption(next(images))])
    done, end, before = 0, time.perf_counter() + bench.seconds, bench.cpu()

    async def one_after_the_other() -> None:
        nonlocal done
        while time.perf_counter() < end:
            items = await post(bench, [caption(next(images)) for _ in range(ARRAY)])
            assert len(items) == ARRAY
            done += ARRAY

    started = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    spent, cpu = time.perf_counter() - started, bench.cpu() - before
    print(f"{name}: {done / spent:.0f} captions a second in arrays of {ARRAY}; server {cpu / done * 1e6:.0f} us of CPU "
          f"each, {done / cpu:.0f}/s on a whole core")  # fmt: skip


async def batches(seconds: float) -> None:
    async with Bench(seconds, {"answer": "yes"}) as bench:
        await _arrays(bench, "batches", itertools.repeat(await uploaded(bench)))


async def inline(seconds: float) -> None:
    async with Bench(seconds, {"answer": "yes"}) as bench:
        await _arrays(bench, "inline", (written(5000) for _ in itertools.count()))


@asynccontextmanager
async def sockets(bench: Bench, count: int) -> AsyncIterator[list[ClientConnection]]:
    """WebSockets that have said who they are."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            url = f"ws://127.0.0.1:{bench.port}/v1"
            made.append(await stack.enter_async_context(
                connect(url, ping_interval=None, compression=None, max_size=1 << 20)
            ))
            await made[-1].send(json.dumps([{"taskType": "authentication", "apiKey": "any"}]))
            assert "connectionSessionUUID" in str(await made[-1].recv())
        yield made


async def _thousand(name: str, seconds: float, every: float | None) -> None:
    async with Bench(seconds, {"answer": "yes"}) as bench:
        async with sockets(bench, 10):
            await post(bench, [caption(await uploaded(bench))])
        await asyncio.sleep(2)
        alone, before = await _share(bench, seconds), bench.resident()
        async with sockets(bench, SOCKETS) as made:
            added = bench.resident() - before
            pings = [asyncio.create_task(_ping(each, every)) for each in made] if every else []
            await asyncio.sleep(2)
            share = await _share(bench, seconds)
            for task in pings:
                task.cancel()
            print(f"{name}: {SOCKETS} WebSockets add {added:.0f} MB, {1000 * added / SOCKETS:.0f} KB each; "
                  f"{share:.2f} % of a core over {seconds:.0f} s, without them {alone:.2f} %")  # fmt: skip


async def _share(bench: Bench, seconds: float) -> float:
    """The part of a core that the server takes for some seconds, in percent."""
    before, started = bench.cpu(), time.perf_counter()
    await asyncio.sleep(seconds)
    return 100 * (bench.cpu() - before) / (time.perf_counter() - started)


async def _ping(socket: ClientConnection, every: float) -> None:
    await asyncio.sleep(every * int.from_bytes(os.urandom(2)) / (1 << 16))
    while True:
        await socket.send('[{"taskType": "ping", "ping": true}]')
        assert "pong" in str(await socket.recv())
        await asyncio.sleep(every)


async def idle(seconds: float) -> None:
    await _thousand("idle", max(30.0, seconds), None)


async def pinging(seconds: float) -> None:
    await _thousand("pinging", max(30.0, seconds), 5.0)


async def flight(seconds: float) -> None:
    async with Bench(seconds, {"delay": 0.1}) as bench, sockets(bench, 1) as [socket]:
        image = await uploaded(bench)
        late = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            tasks = [caption(image, prompt=" ".join(["x"] * (1 + number % 16))) for number in range(FLIGHT)]
            for task in tasks:
                await socket.send(json.dumps([task]))
            heard = {}
            for _ in tasks:
                [item] = json.loads(await socket.recv())["data"]
                heard[item["taskUUID"]] = time.time()
            over = _over(bench, list(heard))
            late += [heard[uuid] - over[uuid] for uuid in heard]
        print(f"flight: {FLIGHT} tasks of one WebSocket at once: heard p50 {1000 * median(late):.0f} ms, p99 "
              f"{1000 * percentile(late, 99):.0f} ms after the end of each")  # fmt: skip


def _over(bench: Bench, uuids: list[str]) -> dict[str, float]:
    """When each task was over, in seconds since 1970, by its UUID."""
    with closing(sqlite3.connect(bench.data / "triptych.db")) as database:
        rows = database.execute("SELECT idempotency_key, completed_us FROM predictions").fetchall()
    over = {key.removeprefix("runware:"): completed / 1e6 for key, completed in rows if completed is not None}
    return {uuid: over[uuid] for uuid in uuids}


def peak(bench: Bench) -> float:
    """The most MB that the server has occupied since `forget_peak`."""
    line = next(line for line in _status(bench).splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def forget_peak(bench: Bench) -> None:
    Path(f"/proc/{bench.server.pid}/clear_refs").write_text("5")


def _status(bench: Bench) -> str:
    return Path(f"/proc/{bench.server.pid}/status").read_text()


async def upload(seconds: float) -> None:
    async with Bench(seconds, {"answer": "yes"}) as bench, sockets(bench, 1) as [socket]:
        await uploaded(bench)
        extra, took = [], []
        for _ in range(5):
            uri = f"data:image/png;base64,{written(12 << 20)}"
            frame = json.dumps([{"taskType": "imageUpload", "taskUUID": str(uuid.uuid4()), "image": uri}])
            before = bench.resident()
            forget_peak(bench)
            began = time.perf_counter()
            await socket.send(frame)
            assert "imageUUID" in str(await socket.recv())
            took.append(time.perf_counter() - began)
            extra.append(peak(bench) - before)
            await asyncio.sleep(0.5)
        print(f"upload: an image of 12 MiB in a frame of {len(frame) / 1e6:.1f} MB: at most {max(extra):.0f} MB more "
              f"memory (each: {', '.join(f'{each:.0f}' for each in extra)}), {median(took):.2f} s, "
              f"{bench.resident():.0f} MB resident after")  # fmt: skip


CASES = (batches, inline, idle, pinging, flight, upload)

if __name__ == "__main__":
    run(__doc__, {case.__name__: case for case in CASES})
