"""The server as it is before a null replica (tests/support/null_replica.py), each a process; the benchmark is load."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[1]
_SERVER = """
import sys
sys.path.insert(0, {support!r})
import asyncio
import gc
from pathlib import Path
import uvicorn
from triptych.replica.client import ReplicaClient
from triptych.server.accounts.cost import Price, part
from triptych.server.app import App, Options
from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.metrics import Metrics
from triptych.server.records import open_records
from triptych.server.router import Router
from triptych.server.served import ModelSpec, ServedModel
from triptych.server.service import Service
from triptych.server.start import websockets
from triptych.server.stopping import Server

class Connected:
    "A replica that runs already, at the place of the process that would be started."
    async def start(self):
        self.client = ReplicaClient({address!r})
        await self.client.connect()
        return self.client
    async def obituary(self):
        return "the null replica is gone"
    async def stop(self, grace=0):
        self.client.close()

model = ServedModel(ModelSpec("null", "null"), lambda spec, phase: Connected())

async def serve():
    records = None if {plain} else await open_records(Path({data!r}))
    fetcher = ImageFetcher(Guard())
    files, closed = (None, None) if records is None else (records.files, records.close)
    service = Service(Router([model]), fetcher.read, Metrics(["null"]), most_waiting=100_000, files=files)
    price = Price((part("input", 10**8), part("output", 2 * 10**8)), "a benchmark")
    options = Options(keys={keys!r}, prices="free", own_prices={{"null": price}} if {keys!r} else {{}})
    app = App(service, options, closed, records)
    gc.collect()
    gc.freeze()  # as `triptych serve` does
    config = uvicorn.Config(app, port={port}, log_config=None, access_log=False, **websockets(64 << 20))
    await Server(config, app, 5).serve()

with asyncio.Runner(loop_factory=uvicorn.Config("", log_config=None).get_loop_factory()) as runner:
    runner.run(serve())
"""


class Bench:
    """A null replica, a server before it, and a client session. A `plain` server keeps nothing, so it meters nothing;
    one with a `key` asks for it.
    """

    def __init__(self, seconds: float, options: dict[str, Any], plain: bool = False, key: str = "") -> None:
        self.seconds = seconds
        self.options = options
        self.plain = plain
        self.key = key
        with socket.socket() as found:  # several benchmarks may run at one time
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]

    async def __aenter__(self) -> Bench:
        self.folder = tempfile.TemporaryDirectory()
        self.data = Path(self.folder.name) / "data"
        self.address = f"unix:{self.folder.name}/null"
        self.replica = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/support/null_replica.py"), self.address], stdin=subprocess.PIPE
        )
        self.replica.stdin.write(json.dumps({"model": "null", "options": self.options}).encode() + b"\n")
        self.replica.stdin.flush()
        code = _SERVER.format(support=str(ROOT / "tests/support"), address=self.address, port=self.port,
                              data=str(self.data), plain=self.plain, keys=(self.key,) if self.key else ())
        self.server = subprocess.Popen([sys.executable, "-c", code])
        pin(self.server.pid, 0)
        self.http = aiohttp.ClientSession(
            f"http://127.0.0.1:{self.port}", connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(60)
        )
        while True:
            assert self.server.poll() is None, "the server did not start"
            try:
                async with self.http.get("/health") as answer:
                    if answer.status == 200:
                        return self
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)

    async def __aexit__(self, *error: object) -> None:
        await self.http.close()
        for process in (self.server, self.replica):
            process.terminate()
            process.wait()
        self.folder.cleanup()

    async def chat(self, **more: Any) -> bytes:
        body = {"model": "null", "messages": [{"role": "user", "content": "one two three"}], **more}
        async with self.http.post("/v1/chat/completions", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.read()

    def cpu(self) -> float:
        """Seconds of processor time that the server has used."""
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def rest(self) -> None:
        """Print what the server takes while nobody calls it."""
        await asyncio.sleep(1)
        before = self.cpu()
        await asyncio.sleep(self.seconds)
        share = 100 * (self.cpu() - before) / self.seconds
        print(f"idle: {self.resident():.0f} MB resident, {share:.2f} % of a core")

    def resident(self) -> float:
        """MB that the server occupies."""
        pages = int(Path(f"/proc/{self.server.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def pin(pid: int, core: int) -> None:
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(pid, {core})


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def run(about: str, cases: Mapping[str, Callable[[float], Coroutine[Any, Any, None]]]) -> None:
    """The command line of a benchmark: `cases` one after the other, each for some seconds."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=cases, default=list(cases))
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    for case in options.cases:
        asyncio.run(cases[case](options.seconds))
