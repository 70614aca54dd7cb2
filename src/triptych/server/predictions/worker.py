"""Runs predictions: new ones at once while there is room, else what waits longest; by leases, so nothing is lost."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from ..service import Service
from ..store import predictions as statements
from ..store.ids import new_id, now_us
from ..store.predictions import PredictionRecord
from ..store.store import Store, StoreError
from .live import Live
from .run import PredictionRun, Tell

log = logging.getLogger("triptych.server")


@dataclass(frozen=True, slots=True)
class Pace:
    """Predictions of one `model` at once; seconds that a lease lasts and between two looks for what waits."""

    model: int = 64
    lease: float = 30.0
    look: float = 2.0


class PredictionWorker:
    """One per server. `lives` are the predictions that run here. `told` is called when `tell` had something to tell and
    it is stored.
    """

    def __init__(
        self, store: Store, service: Service, tell: Tell, pace: Pace = Pace(), told: Callable[[], None] = lambda: None
    ) -> None:
        self.lives: dict[str, Live] = {}
        self._store = store
        self._service = service
        self._tell = tell
        self._told = told
        self._pace = pace
        self._name = new_id()
        self._running: Counter[str] = Counter()
        # Models that predictions wait for in the store: new ones queue behind those.
        self._behind: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._main: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up what an earlier server left. Raises StoreError."""
        if self._store.alone:
            await self._store.write(statements.release)
        self._behind = set(await self._store.read(partial(statements.waiting_models, now_us=now_us())))
        self._main = [asyncio.create_task(self._look()), asyncio.create_task(self._keep())]

    async def stop(self) -> None:
        """Leave what is under way to the next server."""
        for tasks in (self._main, [*self._tasks]):  # first what takes up more
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
        with suppress(StoreError):
            await self._store.write(partial(statements.release, worker=self._name))

    async def add(
        self, record: PredictionRecord, reads: Collection[str] = (), replaces: bool = False
    ) -> PredictionRecord:
        """Store a new prediction, which reads the files with the ids `reads`, and see that it is run. Once this returns
        it is acknowledged. `replaces` is as in the statement. Raises StoreError.
        """
        model, now = record.model, now_us()
        at_once = self._room(model) > 0 and model not in self._behind
        if at_once:
            record = replace(record, worker=self._name, attempt=1, due_us=self._until(now))
            self._running[model] += 1
        else:
            record = replace(record, due_us=record.created_us)
        try:
            added = await self._store.write(partial(statements.add, record=record, reads=reads, replaces=replaces))
        except BaseException:
            self._running[model] -= at_once
            raise
        if added.id != record.id:  # it was asked before
            self._running[model] -= at_once
        elif at_once:
            self._begin(added)
        else:
            self._behind.add(model)
            self._woken.set()
        return added

    async def add_ended(self, record: PredictionRecord) -> PredictionRecord:
        """Store a prediction that has ended before it began, and what is to be told of it. Raises StoreError."""
        told = self._tell(record, "completed")
        added = await self._store.write(partial(statements.add, record=record, webhooks=told))
        if told:
            self._told()
        return added

    def cancel(
        self, prediction_id: str, cancel_us: int | None = None, reason: str = "canceled by its caller"
    ) -> None:
        """Stop a prediction that runs here; `cancel_us` is when the store was told to."""
        if live := self.lives.get(prediction_id):
            live.store({"cancel_us": cancel_us})
            live.reason = live.reason or reason
            live.cancel.set()

    async def end_unclaimed(self, prediction_id: str) -> None:
        """Take a prediction that nobody works on and that shall be canceled, so that it ends at once."""
        now = now_us()
        take = partial(
            statements.take, prediction_id=prediction_id, worker=self._name, now_us=now, until_us=self._until(now)
        )
        if prediction_id not in self.lives and (record := await self._store.write(take)) is not None:
            self._running[record.model] += 1
            self._begin(record)

    def _room(self, model: str) -> int:
        return self._pace.model - self._running[model]

    def _until(self, now: int) -> int:
        return now + round(self._pace.lease * 1e6)

    # ---- running ----------------------------------------------------------------------------------------------------

    def _begin(self, record: PredictionRecord) -> None:
        """The room for it is taken already."""
        live = self.lives[record.id] = Live(record)
        if record.cancel_us is not None:
            self.cancel(record.id, record.cancel_us)
        task = asyncio.create_task(self._work(live))
        self._tasks.add(task)
        task.add_done_callback(partial(self._over, record))

    async def _work(self, live: Live) -> None:
        run = PredictionRun(self._store, self._service, live, self._tell, self._told)
        deadline = live.stored.deadline_us
        timer = None
        if deadline is not None:
            seconds = max(0.0, (deadline - now_us()) / 1e6)
            late = partial(self.cancel, live.stored.id, reason="canceled: its deadline has passed")
            timer = asyncio.get_running_loop().call_later(seconds, late)
        try:
            await run.work()
        except StoreError as error:
            log.error("prediction %s is interrupted: %s", live.stored.id, error)
        except Exception:
            log.exception("prediction %s is interrupted", live.stored.id)
        finally:
            if timer is not None:
                timer.cancel()

    def _over(self, record: PredictionRecord, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.lives.pop(record.id, None)
        self._running[record.model] -= 1
        if record.model in self._behind:
            self._woken.set()

    # ---- the store --------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Take what waits, model by model, while there is room."""
        while True:
            self._woken.clear()
            try:
                for model in await self._waiting():
                    await self._take(model)
            except StoreError as error:
                log.error("waiting predictions cannot be looked for: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.look):
                    await self._woken.wait()

    async def _waiting(self) -> list[str]:
        """Models of this server that something may wait for. Others' servers, and those that died, leave work too."""
        names = [model.name for model in self._service.router.models]
        if self._store.alone:
            return [name for name in names if name in self._behind]
        return names

    async def _take(self, model: str) -> None:
        room = self._room(model)
        if room <= 0:
            return
        now = now_us()
        claim = partial(
            statements.claim, worker=self._name, model=model, now_us=now, until_us=self._until(now), limit=room
        )
        taken = await self._store.write(claim)
        if len(taken) < room:
            self._behind.discard(model)
        for record in taken:
            if (live := self.lives.get(record.id)) is not None:
                live.retake(record)
                continue
            self._running[model] += 1
            self._begin(record)

    async def _keep(self) -> None:
        """Renew the leases, and hear of cancellations that came to other servers."""
        while True:
            await asyncio.sleep(self._pace.lease / 3)
            try:
                await self._store.write(partial(statements.renew, worker=self._name, until_us=self._until(now_us())))
                if not self._store.alone and self.lives:
                    await self._hear()
            except StoreError as error:
                log.error("leases cannot be renewed: %s", error)

    async def _hear(self) -> None:
        ids = list(self.lives)
        mine = await self._store.read(partial(statements.still_mine, worker=self._name, ids=ids))
        for prediction_id in ids:
            if (cancel_us := mine.get(prediction_id)) is not None:
                self.cancel(prediction_id, cancel_us)
