"""Predictions and what receivers hear of them, from the request to the last message, over restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_model import ScriptedModel
from webhook_receiver import answer, receiving

from triptych.engine.request import SamplingParams
from triptych.server.delivery.guard import Guard
from triptych.server.delivery.post import Poster
from triptych.server.generation import ChatPrompt
from triptych.server.metrics import Metrics
from triptych.server.predictions.kept import KeptPredictions
from triptych.server.predictions.predictions import NewPrediction
from triptych.server.predictions.stored import StoredGeneration
from triptych.server.records import open_records
from triptych.server.router import Router
from triptych.server.service import Service
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.predictions import PredictionRecord
from triptych.server.store.webhooks import WebhookRecord


def tell(record: PredictionRecord, event: str) -> list[WebhookRecord]:
    if record.webhook is None:
        return []
    now, body = now_us(), json.dumps({"event": event, "status": record.status, "output": "".join(record.output)})
    return [WebhookRecord(new_id(), record.id, event, record.webhook, body, now, now)]


@asynccontextmanager
async def serving(
    folder: Path, database: str | None, model: ScriptedModel, graceful: bool = True, look: float = 2.0
) -> AsyncIterator[KeptPredictions]:
    async def fetch(url: str) -> bytes:
        return url.encode()

    records = await open_records(folder, database)
    service = Service(Router([model]), fetch, Metrics([model.name]))  # type: ignore[list-item]
    kept = KeptPredictions.of(records, service, tell, Poster(Guard.allowing(["127.0.0.1"]), http=True), None)
    kept.deliverer._pace = replace(kept.deliverer._pace, look=look)
    await kept.start()
    yield kept
    if graceful:
        await kept.stop()
    else:  # nothing is released
        worker, deliverer = kept.worker, kept.deliverer
        tasks = [*worker._main, *worker._tasks, *worker._claiming, *deliverer._main, *deliverer._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await kept.retention.stop()
        await kept.deliverer._poster.close()
    await records.close()


def asked(webhook: str, text: str = "one two three") -> NewPrediction:
    generation = StoredGeneration(ChatPrompt([{"role": "user", "content": text}]), SamplingParams())
    return NewPrediction(owner="me", dialect="test", model="m", generation=generation, webhook=webhook)


async def test_receivers_hear_of_a_prediction_as_it_goes_and_at_once(
    tmp_path: Path, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triptych.server.predictions.run._FLUSH_EVERY", 0.05)
    model = ScriptedModel()
    model.pace = 0.1
    async with receiving() as receiver, serving(tmp_path, database, model, look=60) as kept:
        await kept.predictions.create(asked(receiver.url + "/"))
        async with asyncio.timeout(10):  # long before the next look
            while not receiver.bodies() or json.loads(receiver.bodies()[-1])["event"] != "completed":
                await asyncio.sleep(0.003)
    heard = [json.loads(body) for body in receiver.bodies()]
    events = [each["event"] for each in heard]
    assert events[:2] == ["start", "logs"]
    assert set(events[2:-1]) == {"output"}
    assert heard[-1] == {"event": "completed", "status": "succeeded", "output": " one two three"}
    outputs = [each["output"] for each in heard]
    assert outputs == sorted(outputs, key=len)


@pytest.mark.parametrize("graceful", [True, False])
async def test_what_one_server_could_not_tell_the_next_one_does(
    tmp_path: Path, database: str | None, graceful: bool
) -> None:
    async with receiving({"/": answer("500 Oops")}) as receiver:
        async with serving(tmp_path, database, ScriptedModel(), graceful) as kept:
            created = [await kept.predictions.create(asked(receiver.url + "/", f"number {n}")) for n in range(3)]
            for each in created:
                await kept.predictions.wait(each.id, 10)
            async with asyncio.timeout(10):
                while not receiver.got:
                    await asyncio.sleep(0.003)
        receiver.answers["/"] = answer()
        async with serving(tmp_path, database, ScriptedModel()) as kept:
            kept.deliverer._clock = lambda: now_us() + 60_000_000
            kept.deliverer.wake()
            async with asyncio.timeout(10):
                while len([body for body in receiver.bodies() if '"completed"' in body and '"succeeded"' in body]) < 3:
                    await asyncio.sleep(0.005)
                while await kept.store.read(_waiting):
                    await asyncio.sleep(0.005)
    last = [json.loads(body)["output"] for body in receiver.bodies() if '"completed"' in body]
    assert {f" number {n}" for n in range(3)} <= set(last)


def _waiting(connection: object) -> int:
    from triptych.server.store import webhooks

    return webhooks.waiting(connection)  # type: ignore[arg-type]
