"""What a page costs the server, and what it weighs: python bench/pages.py [--rounds N]

Each page is asked of the whole application in this process, without a network: routing, work, template and gzip, as a
browser asks. Pages take turns, so that all of them see the same moods of the machine; times are of this thread's CPU,
which a busy machine does not stretch, beside those of the clock. Weight is all that crosses to a browser that has
nothing yet: the page and what it loads, packed; and the page alone, unpacked. The models served are the packaged ones;
none is started. Pages of operations show an empty server.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from support import table

from triptych.server.records import open_records
from triptych.server.settings import Settings
from triptych.server.start import build

PAGES = (
    "/", "/reference", "/app/models", "/app/models?q=caption", "/app/models/mixtral-8x7b",
    "/app/models/llava-1.6-mistral-7b", "/app/models/tiny-llava-1.6", "/app/providers", "/app/providers/replicate",
    "/app/compare", "/app/compare?model=mixtral-8x7b&model=mixtral-8x22b&input=3M&output=1M", "/app/changes",
    "/app/playground", "/app/predictions", "/app/webhooks", "/app/usage", "/app/keys", "/app/running",
)  # fmt: skip


async def ask(app: Any, path: str) -> tuple[int, bytes]:
    """Status and body, as they would cross."""
    route, _, query = path.partition("?")
    headers = [(b"host", b"127.0.0.1:8000"), (b"accept", b"text/html"), (b"accept-encoding", b"gzip")]
    scope = {
        "type": "http", "method": "GET", "path": route, "raw_path": route.encode(), "query_string": query.encode(),
        "headers": headers, "scheme": "http", "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1),
        "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    parts: list[Any] = []
    asked = False

    async def receive() -> Any:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        parts.append(message)

    await app(scope, receive, send)
    return parts[0]["status"], b"".join(part.get("body", b"") for part in parts[1:])


async def measure(app: Any, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """By page, (CPU of this thread, clock) in seconds of each round but the first, which loads what is kept."""
    times: dict[str, list[tuple[float, float]]] = {path: [] for path in PAGES}
    for number in range(rounds + 1):
        for path in PAGES:
            began = time.thread_time(), time.perf_counter()
            status, _ = await ask(app, path)
            ended = time.thread_time(), time.perf_counter()
            if status != 200:
                raise SystemExit(f"{path} answers {status}")
            if number:
                times[path].append((ended[0] - began[0], ended[1] - began[1]))
    return times


async def weights(app: Any, path: str) -> tuple[int, int]:
    """Bytes: of the page and all that it loads, as they cross; of the page alone, unpacked."""
    _, body = await ask(app, path)
    html = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    loads = set(re.findall(r'(?:src|href)="(/app/static/[^"]+)"', html.decode()))
    return len(body) + sum([len((await ask(app, each))[1]) for each in loads]), len(html)


async def run(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(Settings(), data=Path(folder), refresh_prices=None)
        records = await open_records(Path(folder))
        app = build(settings, records).app
        router = app._starlette.router
        async with router.lifespan_context(app._starlette):
            times = await measure(app, rounds)
            rows = []
            for path, spent in times.items():
                crossing, page = await weights(app, path)
                cpu, clock = (1000 * median(each[part] for each in spent) for part in (0, 1))
                rows.append([f"`{path}`", f"{cpu:.1f}", f"{clock:.1f}", f"{crossing / 1000:.0f}", f"{page / 1000:.0f}"])
        await records.close()
    print(table(["page", "CPU ms", "clock ms", "KB with all it loads", "KB of HTML, unpacked"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    asyncio.run(run(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
