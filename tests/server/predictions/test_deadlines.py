"""Deadlines: whatever a prediction is at then, and whichever server stored it, it ends."""

from __future__ import annotations

import asyncio

from prediction_runs import PACE, asked, ended, running, stored, until
from scripted_model import ScriptedModel

from triptych.server.store.store import Store


async def test_a_deadline_cancels(store: Store) -> None:
    model = ScriptedModel()
    model.gates["word 1"] = asyncio.Event()
    async with running(store, model) as predictions:
        created = await predictions.create(asked(lasts=0.5))
        await until(lambda: predictions.worker.lives[created.id].canceled)  # type: ignore[attr-defined]
        model.gates["word 1"].set()
        record = await ended(predictions, created.id)
    assert record.status == "canceled"
    assert "its deadline has passed" in record.logs
    assert record.output in ((), (" one",))  # what was said in the time, on a machine however busy


async def test_a_deadline_cancels_one_that_waits(store: Store) -> None:
    model = ScriptedModel()
    model.gates["word 0"] = asyncio.Event()
    async with running(store, model) as predictions:
        busy = [await predictions.create(asked(f"busy {n}")) for n in range(PACE.model)]
        waiting = await predictions.create(asked("waiting", lasts=0.1))
        record = await ended(predictions, waiting.id)
        assert record.status == "canceled"
        assert "its deadline has passed" in record.logs
        assert "waiting" not in model.tries
        assert [(await stored(store, each.id)).ended for each in busy] == [False] * PACE.model
        model.gates["word 0"].set()
        for each in busy:
            assert (await ended(predictions, each.id)).status == "succeeded"


async def test_a_deadline_holds_for_one_that_another_server_stored(store: Store) -> None:
    """It dies, and what it had waits behind what the next one has to do."""
    model = ScriptedModel()
    model.gates["word 0"] = asyncio.Event()
    async with running(store, model) as predictions:
        for number in range(PACE.model):
            await predictions.create(asked(f"busy {number}"))
        soon = await predictions.create(asked("soon", lasts=0.3))
        later = await predictions.create(asked("later", lasts=60))
    async with running(store, model) as predictions:
        record = await ended(predictions, soon.id)
        assert record.status == "canceled"
        assert "its deadline has passed" in record.logs
        assert not (await stored(store, later.id)).ended
        model.gates["word 0"].set()
        assert (await ended(predictions, later.id)).status == "succeeded"
    assert "soon" not in model.tries
