"""A store with predictions that webhooks tell of, and a deliverer before it that can be started again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from triptych.server.delivery.guard import Guard
from triptych.server.delivery.post import Poster
from triptych.server.delivery.webhooks import Deliverer, Pace
from triptych.server.metrics import Metrics
from triptych.server.store import predictions, webhooks
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.predictions import PredictionRecord
from triptych.server.store.store import Store
from triptych.server.store.webhooks import AttemptRecord, WebhookRecord

LOCAL = Guard.allowing(["127.0.0.1"])
PACE = Pace(receiver=3, lease=30, look=0.02, drain=0.2)
DAY = 86_400.0


@dataclass
class Clock:
    """The time of day, which can be put forward."""

    ahead_us: int = 0

    def __call__(self) -> int:
        return now_us() + self.ahead_us

    def advance(self, seconds: float) -> None:
        self.ahead_us += round(seconds * 1e6)


@dataclass
class Desk:
    """A store with predictions, and a deliverer that can be started again."""

    store: Store
    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)

    def deliverer(self, guard: Guard = LOCAL, pace: Pace = PACE, http: bool = True, seconds: float = 5.0) -> Deliverer:
        poster = Poster(guard, http=http, seconds=seconds)
        return Deliverer(self.store, poster, self.metrics, pace, self.clock, draw=lambda: 0.0)

    @asynccontextmanager
    async def delivering(self, **options: Any) -> AsyncIterator[Deliverer]:
        deliverer = self.deliverer(**options)
        deliverer.start()
        try:
            yield deliverer
        finally:
            await deliverer.stop()

    async def prediction(self, owner: str = "me") -> PredictionRecord:
        now = self.clock()
        record = PredictionRecord(
            id=new_id(), owner=owner, dialect="test", model="m", generation="{}", created_us=now,
            stream_token=new_id(), worker="w", attempt=1, due_us=now,
        )  # fmt: skip
        return await self.store.write(partial(predictions.add, record=record))

    async def tell(self, record: PredictionRecord, *events: str, url: str, **values: Any) -> list[str]:
        """Write messages with a change of their prediction; their ids. The body says which event of which it is."""
        now = self.clock()
        told = [
            WebhookRecord(new_id(), record.id, event, url, json.dumps({"event": event, "n": number, "é": 1}), now, now)
            for number, event in enumerate(events)
        ]
        assert await self.store.write(partial(predictions.change, record=record, webhooks=told, logs="x", **values))
        return [message.id for message in told]

    async def one(self, url: str, event: str = "completed", owner: str = "me") -> str:
        [message_id] = await self.tell(await self.prediction(owner), event, url=url)
        return message_id

    async def state(self, message_id: str) -> str:
        found = await self.store.read(partial(webhooks.get, webhook_id=message_id))
        return "deleted" if found is None else found.state

    async def attempts(self, message_id: str) -> list[AttemptRecord]:
        return await self.store.read(partial(webhooks.attempts, webhook_id=message_id))

    def counts(self) -> dict[str, float]:
        families = text_string_to_metric_families(self.metrics.render().decode())
        [family] = [each for each in families if each.name == "triptych_webhook_delivery_seconds"]
        return {each.labels["outcome"]: each.value for each in family.samples if each.name.endswith("_count")}


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.003)


async def reaches(desk: Desk, message_id: str, state: str) -> None:
    async with asyncio.timeout(10):
        while await desk.state(message_id) != state:
            await asyncio.sleep(0.003)


async def tried(desk: Desk, message_id: str, times: int) -> list[AttemptRecord]:
    async with asyncio.timeout(10):
        while len(found := await desk.attempts(message_id)) < times:
            await asyncio.sleep(0.003)
    return found
