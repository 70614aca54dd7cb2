"""How long a chart of usage takes over a million rows of it: from the days that are added up, and from the rows.

python bench/usage.py [--rows 1000000]

A year of usage of 20 keys, 3 models and 3 dialects, written as a server writes it. Every question is asked of both by
turns, nine times; the time is this process's CPU, and the clock's beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import Connection, func, select

from triptych.server.store import usage as statements
from triptych.server.store.ids import new_id
from triptych.server.store.store import Store, open_store
from triptych.server.store.tables import usage
from triptych.server.store.usage import DAY_US, UsageRecord
from triptych.server.store.usage_sums import totals

_DAYS, _FIRST = 365, 20_000
_BATCH = 500


def row(rng: random.Random) -> UsageRecord:
    return UsageRecord(
        id=new_id(), request_id="r", owner=f"key{rng.randrange(20)}",
        dialect=rng.choice(("openai", "replicate", "runware")), called="m", reason="stop", price="{}",
        model=rng.choice(("llava-1.5", "llava-1.6", "mixtral")),
        created_us=(_FIRST + rng.randrange(_DAYS)) * DAY_US, cost_nano=rng.randrange(10**6), prompt_tokens=700,
        completion_tokens=rng.randrange(300), image_tokens=576, images=1, seconds_us=10**5,
    )  # fmt: skip


async def fill(store: Store, count: int) -> float:
    """Seconds of CPU for each row."""
    rng, spent = random.Random(1), 0.0
    for _ in range(0, count, _BATCH):
        rows = [row(rng) for _ in range(_BATCH)]
        before = time.process_time()
        await store.write(partial(statements.add, records=rows, server="bench"))
        spent += time.process_time() - before
    return spent / count


def from_rows(connection: Connection, by: tuple[str, ...]) -> list[Any]:
    columns = [usage.c[name] for name in by]
    added = [func.sum(usage.c[name]) for name in ("prompt_tokens", "completion_tokens", "cost_nano")]
    return list(connection.execute(select(*columns, func.count(), *added).group_by(*columns)))


async def timed(store: Store, work: Callable[[Connection], Any]) -> tuple[float, float]:
    """Milliseconds of CPU and of the clock."""
    cpu, clock = time.process_time(), time.perf_counter()
    await store.read(work)
    return 1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - clock)


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(Path(folder), None)
        print(f"{count:,} rows; writing one takes {1e6 * await fill(store, count):.0f} us of CPU")
        for by in (("day",), ("day", "model"), ("owner",), ("day", "owner", "model", "dialect")):
            days = partial(totals, by=by, owner=None, from_day=_FIRST, to_day=_FIRST + _DAYS)
            rows = partial(from_rows, by=by)
            pairs = [(await timed(store, days), await timed(store, rows)) for _ in range(9)]
            added, plain = (tuple(median(pair[place][of] for pair in pairs) for of in (0, 1)) for place in (0, 1))
            print(f"by {', '.join(by):26} {added[0]:6.1f} ms CPU ({added[1]:.1f} clock) from days, "
                  f"{plain[0]:7.1f} ms ({plain[1]:.1f}) from rows")  # fmt: skip
        await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    asyncio.run(main(parser.parse_args().rows))
