"""Runs predictions: new ones at once while there is room, else what waits longest; by leases, so nothing is lost."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from msgspec import structs

from ..service import Service
from ..store import leases
from ..store import predictions as statements
from ..store.ids import new_id, now_us
from ..store.predictions import Addition, PredictionRecord
from ..store.store import Store, StoreError
from .live import Live
from .run import PredictionRun, Tell
from .stored import StoredGeneration

log = logging.getLogger("triptych.server")

T = TypeVar("T")


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
        # What goes to its end also if nobody waits for it any more.
        self._claiming: set[asyncio.Task[Any]] = set()
        self._woken = asyncio.Event()
        self._main: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up what an earlier server left. Raises StoreError."""
        if self._store.alone:
            await self._store.write(leases.release)
        await self._see_what_waits()
        self._main = [asyncio.create_task(self._look()), asyncio.create_task(self._keep())]

    async def stop(self) -> None:
        """Leave what is under way to the next server."""
        if self._claiming:
            await asyncio.wait(self._claiming)
        for tasks in (self._main, [*self._tasks]):  # first what takes up more
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
        with suppress(StoreError):
            await self._store.write(partial(leases.release, worker=self._name))

    async def add(
        self, additions: Sequence[Addition], generations: Mapping[str, StoredGeneration] = MappingProxyType({})
    ) -> list[PredictionRecord]:
        """Store new predictions, all or none, and see that they are run; for one whose key another has, that one. Once
        this returns they are acknowledged. What is in `generations`, by their ids, need not be read from the records.
        Raises StoreError.
        """
        return await self._surely(self._add(additions, generations))

    async def _add(
        self, additions: Sequence[Addition], generations: Mapping[str, StoredGeneration]
    ) -> list[PredictionRecord]:
        mine = [self._placed(addition) for addition in additions]
        begun = {each.record.id for each in mine if each.record.worker is not None}
        try:
            added = await self._store.write(partial(statements.add_some, additions=mine))
        except BaseException:
            for each in mine:
                self._running[each.record.model] -= each.record.id in begun
            raise
        for each, record in zip(mine, added, strict=True):
            if record.id != each.record.id:  # it was asked before
                self._running[each.record.model] -= each.record.id in begun
            elif record.id in begun:
                self._begin(record, generations.get(record.id))
            else:
                self._behind.add(record.model)
                self._woken.set()
                self._give_up_late(record)
        return added

    def _give_up_late(self, record: PredictionRecord) -> None:
        """See that a prediction that waits ends at its deadline: whoever has it then does that."""
        if record.deadline_us is None:
            return

        def late() -> None:
            if record.id not in self.lives and self._main:
                task = asyncio.ensure_future(self._end_late(record.id))
                self._claiming.add(task)
                task.add_done_callback(self._claiming.discard)

        asyncio.get_running_loop().call_later(_seconds_to(record.deadline_us), late)

    async def _end_late(self, prediction_id: str) -> None:
        with suppress(StoreError):  # it ends when it is claimed
            await self._end_unclaimed(prediction_id)

    def _placed(self, addition: Addition) -> Addition:
        """The same with its worker: this one if there is room, which is taken; else whoever has some."""
        record, now = addition.record, now_us()
        if self._room(record.model) > 0 and record.model not in self._behind:
            self._running[record.model] += 1
            record = structs.replace(record, worker=self._name, attempt=1, due_us=self._until(now))
        else:
            record = structs.replace(record, due_us=record.created_us)
        return replace(addition, record=record)

    async def _surely(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives. What the store says is this worker's must be begun, whoever does not wait for it."""
        task = asyncio.ensure_future(work)
        self._claiming.add(task)
        task.add_done_callback(self._claiming.discard)
        return await asyncio.shield(task)

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
            live.cancel(reason, cancel_us)

    async def end_unclaimed(self, prediction_id: str) -> None:
        """Take a prediction that nobody works on and that shall be canceled, so that it ends at once."""
        if prediction_id not in self.lives:
            await self._surely(self._end_unclaimed(prediction_id))

    async def _end_unclaimed(self, prediction_id: str) -> None:
        now = now_us()
        take = partial(
            leases.take, prediction_id=prediction_id, worker=self._name, now_us=now, until_us=self._until(now)
        )
        if (record := await self._store.write(take)) is not None:
            self._running[record.model] += 1
            self._begin(record)

    def _room(self, model: str) -> int:
        return self._pace.model - self._running[model]

    def _until(self, now: int) -> int:
        return now + round(self._pace.lease * 1e6)

    # ---- running ----------------------------------------------------------------------------------------------------

    def _begin(self, record: PredictionRecord, generation: StoredGeneration | None = None) -> None:
        """The room for it is taken already."""
        live = self.lives[record.id] = Live(record, generation)
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
            late = partial(live.cancel, "canceled: its deadline has passed")
            if (seconds := _seconds_to(deadline)) > 0:
                timer = asyncio.get_running_loop().call_later(seconds, late)
            else:
                late()
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
            leases.claim, worker=self._name, model=model, now_us=now, until_us=self._until(now), limit=room
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
        """Renew the leases of what runs, hear of cancellations that came to other servers, and see what was left."""
        while True:
            await asyncio.sleep(self._pace.lease / 3)
            try:
                if self.lives:
                    until = self._until(now_us())
                    await self._store.write(
                        partial(leases.renew, worker=self._name, ids=list(self.lives), until_us=until)
                    )
                    if not self._store.alone:
                        await self._hear()
                await self._see_what_waits()
                await self._end_what_is_late()
            except StoreError as error:
                log.error("leases cannot be renewed: %s", error)

    async def _see_what_waits(self) -> None:
        """New servers find what earlier ones left, and this one what it was interrupted at and nobody has any more."""
        models = [model.name for model in self._service.router.models]
        waiting = await self._store.read(partial(leases.waiting_models, models=models, now_us=now_us()))
        if not self._behind.issuperset(waiting):
            self._behind.update(waiting)
            self._woken.set()

    async def _end_what_is_late(self) -> None:
        """The deadlines of what waits, whoever stored it: who did sees to it in time, unless it is gone since."""
        if self._behind:
            work = partial(leases.late, models=list(self._behind), now_us=now_us(), limit=self._pace.model)
            for prediction_id in await self._store.scan(work):
                await self.end_unclaimed(prediction_id)

    async def _hear(self) -> None:
        ids = list(self.lives)
        mine = await self._store.read(partial(leases.still_mine, worker=self._name, ids=ids))
        for prediction_id in ids:
            if (cancel_us := mine.get(prediction_id)) is not None:
                self.cancel(prediction_id, cancel_us)


def _seconds_to(moment_us: int) -> float:
    return max(0.0, (moment_us - now_us()) / 1e6)
