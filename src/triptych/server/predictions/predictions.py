"""Predictions as dialects use them: create, read, wait, follow, cancel."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from msgspec.structs import replace

from ...engine.errors import TriptychError
from ..store import predictions as statements
from ..store.ids import new_id, now_us
from ..store.predictions import Addition, Filter, PredictionRecord
from ..store.store import Store
from .live import Live, plain
from .stored import StoredGeneration, read_stored
from .worker import PredictionWorker

# A prediction that runs on another server is looked at this often, in seconds.
_LOOK_EVERY = 0.5
_ONE_LIVE_LOOK = 15.0


class RemovedError(TriptychError):
    """What a prediction asked for is not kept any more."""


class NeverRunsError(TriptychError):
    """What a prediction asked for cannot be run, for the reason that it failed for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPrediction:
    """What a dialect asks for. `lasts` are seconds from now to its deadline, `logs` are the first lines of its log.
    With `replaces` it takes the idempotency key of one that came to nothing. The rest is as in `PredictionRecord`.
    """

    owner: str
    dialect: str
    model: str
    generation: StoredGeneration
    shown: dict[str, Any] = field(default_factory=dict)
    input: dict[str, Any] = field(default_factory=dict)
    logs: str = ""
    lasts: float | None = None
    webhook: str | None = None
    webhook_events: tuple[str, ...] = ()
    idempotency_key: str | None = None
    replaces: bool = False
    id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a prediction, for which somebody waits up to `seconds` from the moment `since`, on the clock of the
    event loop. It is `live` if it ran here at that time: then the store is not asked about it.
    """

    predictions: Predictions
    record: PredictionRecord
    live: Live | None
    seconds: float
    since: float

    async def come(self) -> PredictionRecord | None:
        """The prediction once it has ended, or as it is when the time is over; None if it was deleted."""
        if self.record.ended:
            return self.record
        left = self.since + self.seconds - asyncio.get_running_loop().time()
        if self.live is not None:
            await self.live.ended(max(0.0, left))
            if self.live.stored.ended:
                return self.live.stored
            left = self.since + self.seconds - asyncio.get_running_loop().time()
        return await self.predictions.wait(self.record.id, max(0.0, left))


class Predictions:
    """All predictions of a server; `worker` runs them."""

    def __init__(self, store: Store, worker: PredictionWorker) -> None:
        self._store = store
        self._worker = worker

    async def create(self, new: NewPrediction) -> PredictionRecord:
        """Store a prediction, and see that it is run. Once this returns it survives any crash. Raises StoreError."""
        return (await self.create_all([new]))[0]

    async def create_all(self, news: Sequence[NewPrediction]) -> list[PredictionRecord]:
        """Store several predictions in one transaction, all or none, and see that they are run. Raises StoreError."""
        generations = {new.id: new.generation.fixed() for new in news}
        asked = [Addition(_recorded(new, generations[new.id]), new.generation.reads, new.replaces) for new in news]
        added = await self._worker.add(asked, generations)
        return [record if record.id == new.id else self._now(record) for new, record in zip(news, added, strict=True)]

    async def refuse(self, new: NewPrediction, reason: str) -> PredictionRecord:
        """Store a prediction that cannot be run: it has failed, for this reason. Raises StoreError."""
        record = _recorded(new, new.generation)
        logs, reason = f"{record.logs}failed: {plain(reason)}\n", plain(reason)
        ended = replace(record, status="failed", error=reason, logs=logs, completed_us=record.created_us)
        return await self._worker.add_ended(ended)

    async def get(self, prediction_id: str, owner: str | None) -> PredictionRecord | None:
        """The prediction as it is now, if it is the owner's (None: whoever's)."""
        live = self._worker.lives.get(prediction_id)
        found: PredictionRecord | None = None
        if live is not None and not live.done.is_set():
            found = live.record
        elif prediction_id.isalnum():  # not every database takes every text
            found = await self._store.read(partial(statements.get, prediction_id=prediction_id))
        return found if found is not None and owner in (None, found.owner) else None

    async def by_key(self, owner: str, key: str) -> PredictionRecord | None:
        """The owner's prediction with this idempotency key, as it is now."""
        return (await self.by_keys(owner, [key])).get(key)

    async def by_keys(self, owner: str, keys: Collection[str]) -> dict[str, PredictionRecord]:
        """The owner's predictions with these idempotency keys, by key, as they are now."""
        found = await self._store.read(partial(statements.by_idempotency_keys, owner=owner, keys=keys))
        return {key: self._now(record) for key, record in found.items()}

    def _now(self, record: PredictionRecord) -> PredictionRecord:
        """A prediction as it is now, which may be ahead of the store."""
        live = self._worker.lives.get(record.id)
        return record if live is None or live.done.is_set() else live.record

    async def succeeded(self, owner: str, dialect: str, since_us: Sequence[int]) -> list[tuple[int, int]]:
        """How many of the owner's predictions succeeded since each of some moments, in microseconds, and what they
        cost together, in nano-dollars.
        """
        return await self._store.scan(
            partial(statements.succeeded, owner=owner, dialect=dialect, since_us=since_us)
        )

    async def page(self, only: Filter, limit: int) -> list[PredictionRecord]:
        """Up to `limit` predictions, the newest first."""
        read = self._store.scan if only.searches else self._store.read
        return [self._now(record) for record in await read(partial(statements.page, only=only, limit=limit))]

    async def cancel(self, record: PredictionRecord) -> PredictionRecord:
        """Ask a prediction to stop, and wait a moment until it has; the prediction as it is then. Raises StoreError."""
        if record.ended:
            return record
        asked = await self._store.write(
            partial(statements.ask_to_cancel, prediction_id=record.id, now_us=now_us())
        )
        if asked is None or asked.ended:
            return asked or record
        self._worker.cancel(record.id, asked.cancel_us)
        await self._worker.end_unclaimed(record.id)
        return await self.wait(record.id, 5.0) or asked

    async def wait(self, prediction_id: str, seconds: float) -> PredictionRecord | None:
        """The prediction once it has ended, or as it is after `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            left = deadline - asyncio.get_running_loop().time()
            if live := self._worker.lives.get(prediction_id):
                await live.ended(max(0.0, left))
                if live.stored.ended:
                    return live.stored
            record = await self.get(prediction_id, None)
            if record is None or record.ended or left <= 0:
                return record
            if prediction_id not in self._worker.lives:
                await asyncio.sleep(min(_LOOK_EVERY, left))

    def ending(self, record: PredictionRecord, seconds: float) -> Ending:
        """The end of a prediction, from now on."""
        live = self._worker.lives.get(record.id)
        return Ending(self, record, live, seconds, asyncio.get_running_loop().time())

    async def follow(self, token: str) -> AsyncGenerator[PredictionRecord] | None:
        """The prediction with this stream token whenever something of it has changed, last as it ended; also as it was
        after 15 s without a change. None if there is none, or its data were removed.
        """
        if not token.isalnum():
            return None
        record = await self._store.read(partial(statements.by_stream_token, token=token))
        if record is None or record.removed_us is not None:
            return None
        return self._changes(record)

    async def _changes(self, record: PredictionRecord) -> AsyncGenerator[PredictionRecord]:
        live = self._worker.lives.get(record.id)
        found: PredictionRecord | None = record if live is None else live.record
        while found is not None:
            yield found
            if found.ended:
                return
            if live := self._worker.lives.get(record.id):
                seen = len(found.output)
                if len(live.output) == seen and not live.done.is_set():
                    await live.change(_ONE_LIVE_LOOK)
                if record.id in self._worker.lives:
                    found = live.record
                    continue
            else:
                await asyncio.sleep(_LOOK_EVERY)
            found = await self._store.read(partial(statements.get, prediction_id=record.id))

    async def again(self, record: PredictionRecord) -> PredictionRecord:
        """A new prediction that asks for what `record` did. Raises RemovedError, NeverRunsError, StoreError."""
        if record.removed_us is not None:
            raise RemovedError(f"the input of prediction {record.id} was removed, so it cannot be run again")
        stored = read_stored(record.generation)
        if not stored.runs:
            raise NeverRunsError(record.error or "it was refused")
        who_answers = record.logs.partition("\n")[0]
        fresh = replace(
            record, id=new_id(), stream_token=secrets.token_hex(24), created_us=now_us(), status="starting", output=(),
            error=None, error_code=None, logs=f"{who_answers}\nrun again after {record.id}\n", prompt_tokens=0,
            cached_tokens=0, image_tokens=0, completion_tokens=0, started_us=None, first_token_us=None,
            completed_us=None, deadline_us=None, cancel_us=None, idempotency_key=None, attempt=0, worker=None,
            cold_us=0, cold_phases={}, cost_nano=None,
        )  # fmt: skip
        return (await self._worker.add([Addition(fresh, stored.reads)]))[0]


def _recorded(new: NewPrediction, generation: StoredGeneration) -> PredictionRecord:
    now = now_us()
    return PredictionRecord(
        id=new.id, owner=new.owner, dialect=new.dialect, model=new.model, generation=generation.written(),
        created_us=now, stream_token=secrets.token_hex(24), shown=new.shown, input=new.input, logs=plain(new.logs),
        deadline_us=None if new.lasts is None else now + round(new.lasts * 1e6), webhook=new.webhook,
        webhook_events=new.webhook_events, idempotency_key=new.idempotency_key,
    )  # fmt: skip
