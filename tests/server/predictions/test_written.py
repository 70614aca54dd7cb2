"""What of predictions is written, when, and with what else; whatever the database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prediction_runs import PACE, asked, ended, running, stored, until
from scripted_model import ScriptedModel

from triptych.engine.errors import ContextOverflowError
from triptych.engine.request import Timing
from triptych.replica.protocol import Phase
from triptych.server.generation import ModelInfo
from triptych.server.predictions.worker import Pace
from triptych.server.store.predictions import Filter, add_some, change
from triptych.server.store.store import Store, StoreError


async def test_what_is_short_is_written_twice_and_seen_as_it_goes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its start is written with its end when nobody is to be told of it."""
    writes, real = [], store.write

    async def write(work: Any) -> Any:
        writes.append(getattr(work, "func", work))
        return await real(work)

    monkeypatch.setattr(store, "write", write)
    monkeypatch.setattr("triptych.server.predictions.run._START_WITHIN", 10.0)
    model = ScriptedModel()
    model.gates["word 0"] = asyncio.Event()
    async with running(store, model, Pace(4, 60, 60)) as predictions:
        created = await predictions.create(asked())
        await until(lambda: predictions.worker.lives[created.id].started_us)  # type: ignore[attr-defined]
        seen = await predictions.get(created.id, "me")
        assert seen is not None
        assert (seen.status, seen.started_us is not None) == ("processing", True)
        assert "started after" in seen.logs
        assert (await stored(store, created.id)).status == "starting"
        model.gates["word 0"].set()
        record = await ended(predictions, created.id)
        assert [work for work in writes if work in (add_some, change)] == [add_some, change]
        assert record == await stored(store, created.id)
    assert record.started_us == seen.started_us


async def test_what_takes_longer_is_written_as_begun_without_a_word_said(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triptych.server.predictions.run._START_WITHIN", 0.02)
    model = ScriptedModel()
    model.gates["word 0"] = asyncio.Event()
    async with running(store, model) as predictions:
        created = await predictions.create(asked())
        async with asyncio.timeout(10):
            while (found := await stored(store, created.id)).status == "starting":
                await asyncio.sleep(0.005)
        assert (found.status, found.output) == ("processing", ())
        assert found.started_us is not None
        model.gates["word 0"].set()
        assert (await ended(predictions, created.id)).status == "succeeded"


async def test_several_are_acknowledged_together_and_each_runs(store: Store) -> None:
    model = ScriptedModel()
    async with running(store, model) as predictions:
        first = await predictions.create(asked("number 1", idempotency_key="k1"))
        await ended(predictions, first.id)
        news = [asked(f"number {n}", idempotency_key=f"k{n}") for n in range(PACE.model + 3)]
        records = await predictions.create_all(news)
        assert [record.id for record in records] == [news[0].id, first.id, *(new.id for new in news[2:])]
        for record in records:
            assert (await ended(predictions, record.id)).status == "succeeded"
        found = await predictions.by_keys("me", ["k0", "k1", "nothing"])
        assert {key: record.id for key, record in found.items()} == {"k0": news[0].id, "k1": first.id}
        await until(lambda: predictions.worker._running == {"m": 0})  # type: ignore[attr-defined]
    assert set(model.tries.values()) == {1}


async def test_of_several_none_is_kept_if_one_cannot_be(store: Store) -> None:
    model = ScriptedModel()
    async with running(store, model) as predictions:
        taken = await predictions.create(asked("taken"))
        with pytest.raises(StoreError):
            await predictions.create_all([asked("new"), asked("taken", id=taken.id)])
        await ended(predictions, taken.id)
        assert [record.id for record in await predictions.page(Filter(), 10)] == [taken.id]
        await until(lambda: predictions.worker._running == {"m": 0})  # type: ignore[attr-defined]
    assert set(model.tries) == {"taken"}


async def test_a_cold_start_is_part_of_the_record(store: Store) -> None:
    class Cold(ScriptedModel):
        async def ready(self) -> ModelInfo:
            if self.state != "ready":
                await asyncio.sleep(0.05)
                self.state, self.phases = "ready", {"process": Phase("process", 0.5), "load": Phase("load", 1.25)}
            return await super().ready()

    model = Cold()
    model.state = "stopped"
    async with running(store, model) as predictions:
        cold = await ended(predictions, (await predictions.create(asked())).id)
        warm = await ended(predictions, (await predictions.create(asked())).id)
        assert cold == await stored(store, cold.id)
    assert cold.cold_phases == {"process": 0.5, "load": 1.25}
    assert cold.started_us is not None
    assert 45_000 < cold.cold_us <= cold.started_us - cold.created_us
    assert f"cold start of m, {cold.cold_us / 1e6:.2f} s: process 0.50 s, load 1.25 s\n" in cold.logs
    assert (warm.cold_us, warm.cold_phases) == (0, {})
    assert "cold start" not in warm.logs


async def test_characters_that_a_database_does_not_take_are_replaced_or_not_found(store: Store) -> None:
    error = ContextOverflowError("no \0 here")
    async with running(store, ScriptedModel(reply=lambda words, time: ["a\0b", error])) as predictions:
        record = await ended(predictions, (await predictions.create(asked(logs="ignored: \0\n"))).id)
        refused = await predictions.refuse(asked(), "bad \0 template")
        assert record == await stored(store, record.id)
        assert await predictions.get("\0", None) is None
        assert await predictions.follow("\0") is None
    assert record.output == ("a\0b",)
    assert record.error == "no \N{REPLACEMENT CHARACTER} here"
    assert record.logs.startswith("ignored: \N{REPLACEMENT CHARACTER}\n")
    assert refused.error == "bad \N{REPLACEMENT CHARACTER} template"


async def test_times_are_the_engines_where_its_words_come_late_and_at_once(store: Store) -> None:
    model = ScriptedModel()
    model.gates["admission"] = asyncio.Event()
    model.timing = Timing(0.0, 0.02, 0.05)
    async with running(store, model) as predictions:
        created = await predictions.create(asked())
        await asyncio.sleep(0.1)
        model.gates["admission"].set()
        record = await ended(predictions, created.id)
        again = await predictions.create(asked("of no time at all"))
        short = await ended(predictions, again.id)
    assert record.started_us is not None
    assert record.first_token_us == record.started_us + 20_000
    assert record.completed_us is not None
    assert 50_000 <= record.completed_us - record.started_us < 100_000
    # Never before it was there.
    assert short.started_us is not None
    assert short.started_us >= short.created_us
