"""Works on batches in the background: takes what is open from the store, a few at a time, and keeps what is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ..files.blobs import BlobError
from ..files.library import FileLibrary
from ..store import batches as statements
from ..store.ids import new_id, now_us
from ..store.store import Store, StoreError
from .run import BatchRun, Performed

log = logging.getLogger("triptych.server")

# endpoint, body, whose it is
Perform = Callable[[str, bytes, str, str], Awaitable[Performed]]


@dataclass(frozen=True, slots=True)
class Pace:
    """`lines` of a batch and `batches` at once; seconds that a lease lasts and between two looks for open batches."""

    lines: int = 8
    batches: int = 4
    lease: float = 30.0
    look: float = 5.0


class BatchWorker:
    """One per server. `perform` answers one line's request."""

    def __init__(self, store: Store, files: FileLibrary, perform: Perform, pace: Pace = Pace()) -> None:
        self._store = store
        self._files = files
        self._perform = perform
        self._pace = pace
        self._name = new_id()
        self._runs: dict[str, BatchRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._main: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Go on with what an earlier server left. Raises StoreError."""
        if self._store.alone:
            await self._store.write(statements.release_all)
        self._main = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Leave what is under way to the next server; lines that were not finished are answered there again."""
        tasks = [*self._tasks, *([self._main] if self._main is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        with suppress(StoreError):
            await self._store.write(partial(statements.release, worker=self._name))

    def wake(self, batch_id: str) -> None:
        """A batch is new, or its state was changed."""
        self._woken.set()
        if run := self._runs.get(batch_id):
            run.look_now.set()

    async def _look(self) -> None:
        while True:
            self._woken.clear()
            try:
                while len(self._tasks) < self._pace.batches and await self._take():
                    pass
            except StoreError as error:
                log.error("open batches cannot be looked for: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.look):
                    await self._woken.wait()

    async def _take(self) -> bool:
        now = now_us()
        until = now + round(self._pace.lease * 1e6)
        claim = partial(statements.claim, worker=self._name, now_us=now, until_us=until, under_way=list(self._runs))
        record = await self._store.write(claim)
        if record is None:
            return False
        run = BatchRun(self._store, self._files, self._perform, record, self._name, self._pace.lines, self._pace.lease)
        self._runs[record.id] = run
        task = asyncio.create_task(self._work(run))
        self._tasks.add(task)
        task.add_done_callback(partial(self._over, record.id))
        return True

    async def _work(self, run: BatchRun) -> None:
        try:
            await run.work()
        except (StoreError, BlobError) as error:
            # Its lease runs out, and somebody takes it up again.
            log.error("batch %s is interrupted: %s", run.record.id, error)
        except Exception:
            log.exception("batch %s is interrupted", run.record.id)

    def _over(self, batch_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._runs.pop(batch_id, None)
        self._woken.set()
