"""Replicas in this process: a host of a checkpoint and a client of it, and what a served model starts.

Starting a process and torch in it takes two seconds of a core; what a process is for is tested with real ones.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path

from triptych.replica.__main__ import make_engine
from triptych.replica.client import Picture, ReplicaClient
from triptych.replica.host import PICTURE_BYTES, Host
from triptych.replica.process import ReplicaProcess
from triptych.replica.protocol import Phase
from triptych.server.served import ModelSpec

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
    client = await _connected(ReplicaClient(f"unix:{socket}"))
    try:
        if wait:
            await client.ready()
        yield host, client
    finally:
        stop.set()
        client.close()
        await running


class HereReplica(ReplicaProcess):
    """No process: the engine runs in a thread of this one. It cannot be killed, so it never dies."""

    async def start(self) -> ReplicaClient:
        address = f"unix:{self._folder / 'replica'}"
        self._stop = asyncio.Event()
        host = Host(partial(make_engine, self.model, self._options))
        self._running = asyncio.create_task(host.run(address, self._stop))
        return await _connected(ReplicaClient(address, self._on_phase))

    async def obituary(self) -> str:
        return f"the replica of {self.model} ended" if await self._running else f"{self.model} could not be loaded"

    @property
    def alive(self) -> bool:
        return not self._running.done()

    async def stop(self, grace: float = 10.0) -> None:
        self._stop.set()
        await asyncio.wait([self._running], timeout=grace)
        shutil.rmtree(self._folder)


def start_here(spec: ModelSpec, on_phase: Callable[[Phase], None]) -> ReplicaProcess:
    """A replica of the model in this process."""
    return HereReplica(spec.model, {"name": spec.name, **spec.options}, on_phase)


async def _connected(client: ReplicaClient) -> ReplicaClient:
    while True:
        try:
            await client.connect()
            return client
        except OSError:
            await asyncio.sleep(0.01)
