"""Replicas to talk to: a host in this process on a small random checkpoint, and the ways to reach it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path

from triptych.replica.__main__ import make_engine
from triptych.replica.client import Picture, ReplicaClient
from triptych.replica.host import PICTURE_BYTES, Host

OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "name": "small"}


def picture(data: bytes) -> Picture:
    return Picture(blake2b(data, digest_size=16).digest(), data)


@asynccontextmanager
async def hosted(
    folder: Path, socket: Path, picture_bytes: int = PICTURE_BYTES, wait: bool = True, **options: object
) -> AsyncIterator[tuple[Host, ReplicaClient]]:
    """A host of `folder` and a client that is connected; both end with the block."""
    stop = asyncio.Event()
    host = Host(partial(make_engine, str(folder), {**OPTIONS, **options}), picture_bytes=picture_bytes)
    running = asyncio.create_task(host.run(f"unix:{socket}", stop))
    client = ReplicaClient(f"unix:{socket}")
    while True:
        try:
            await client.connect()
            break
        except OSError:
            await asyncio.sleep(0.01)
    try:
        if wait:
            await client.ready()
        yield host, client
    finally:
        stop.set()
        client.close()
        await running
