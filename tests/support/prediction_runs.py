"""Predictions on a store and a scripted model: created, waited for, looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from scripted_model import ScriptedModel

from triptych.engine.request import SamplingParams
from triptych.server.generation import ChatPrompt
from triptych.server.metrics import Metrics
from triptych.server.predictions.predictions import NewPrediction, Predictions
from triptych.server.predictions.stored import StoredGeneration
from triptych.server.predictions.worker import Pace, PredictionWorker
from triptych.server.router import Router
from triptych.server.service import Service
from triptych.server.store import predictions as statements
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.predictions import PredictionRecord
from triptych.server.store.store import Store
from triptych.server.store.webhooks import WebhookRecord

# A lease that no busy machine outlives.
PACE = Pace(model=4, lease=30, look=0.03)


def tell(record: PredictionRecord, event: str) -> list[WebhookRecord]:
    if record.webhook is None or (record.webhook_events and event not in record.webhook_events):
        return []
    now = now_us()
    return [WebhookRecord(new_id(), record.id, event, record.webhook, record.status, now, now)]


def asked(text: str = "one two three", model: str = "m", **more: Any) -> NewPrediction:
    params = more.pop("params", SamplingParams())
    generation = StoredGeneration(ChatPrompt([{"role": "user", "content": text}]), params, more.pop("sources", ()))
    owner = more.pop("owner", "me")
    return NewPrediction(owner=owner, dialect="test", model=model, generation=generation, input={"p": text}, **more)


@asynccontextmanager
async def running(store: Store, model: ScriptedModel, pace: Pace = PACE, **service: Any) -> AsyncIterator[Predictions]:
    async def fetch(url: str) -> bytes:
        return url.encode()

    router = Router([model])  # type: ignore[list-item]
    served = Service(router, service.pop("fetch", fetch), Metrics([model.name]), **service)
    worker = PredictionWorker(store, served, tell, pace)
    await worker.start()
    predictions = Predictions(store, worker)
    predictions.worker = worker  # type: ignore[attr-defined]
    yield predictions
    await worker.stop()


async def ended(predictions: Predictions, prediction_id: str) -> PredictionRecord:
    record = await predictions.wait(prediction_id, 20)
    assert record is not None
    assert record.ended, record
    return record


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)


async def stored(store: Store, prediction_id: str) -> PredictionRecord:
    record = await store.read(partial(statements.get, prediction_id=prediction_id))
    assert record is not None
    return record
