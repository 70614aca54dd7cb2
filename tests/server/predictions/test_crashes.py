"""What predictions are when servers die, stop, lose their leases or share the work; and what never changes again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from crashing_writes import dying_at
from prediction_runs import PACE, asked, ended, running, stored, until
from scripted_model import ScriptedModel

from triptych.engine.errors import ContextOverflowError, ImageError
from triptych.server.delivery.failure import FetchError
from triptych.server.predictions.predictions import Predictions
from triptych.server.predictions.worker import Pace
from triptych.server.store import forgetting, leases
from triptych.server.store import predictions as statements
from triptych.server.store import webhooks as hooks
from triptych.server.store.ids import now_us
from triptych.server.store.predictions import Filter
from triptych.server.store.store import Store, StoreError

# Leases that run out, or are renewed, while one looks on.
SHORT = replace(PACE, lease=0.6)


async def crash(predictions: Predictions) -> None:
    """All tasks are gone; nothing is released."""
    worker: Any = predictions.worker  # type: ignore[attr-defined]
    tasks = [*worker._main, *worker._tasks, *worker._claiming]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    worker._main = []


# One that is told of its start, and one whose start is written with its end.
@pytest.mark.parametrize("webhook", ["http://x/", None])
@pytest.mark.parametrize("crash_at", range(1, 9))
async def test_a_server_that_dies_at_any_write_loses_no_acknowledged_prediction(
    store: Store, crash_at: int, webhook: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    acknowledged = []
    monkeypatch.setattr("triptych.server.predictions.run._FLUSH_EVERY", 0.0)
    first = ScriptedModel()
    first.pace = 0.001
    async with running(store, first) as predictions:
        with dying_at(store, crash_at, monkeypatch):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.15):
                    acknowledged.append(await predictions.create(asked(webhook=webhook)))
                    await asyncio.sleep(1)
            await crash(predictions)
    second = ScriptedModel()
    async with running(store, second) as predictions:
        everything = await predictions.page(Filter(), 10)
        assert {record.id for record in acknowledged} <= {record.id for record in everything}
        for each in everything:
            record = await ended(predictions, each.id)
            assert record.status == "succeeded"
            assert "".join(record.output) == " one two three"
            told = [hook.event for hook in await store.read(partial(hooks.page, prediction_id=each.id))][::-1]
            if webhook is None:
                assert told == []
                continue
            assert told.count("completed") == 1
            assert told.count("start") == 1
            assert told[-1] == "completed"


async def test_a_server_that_stops_leaves_what_is_under_way_to_the_next(store: Store) -> None:
    first = ScriptedModel()
    first.gates["word 1"] = asyncio.Event()
    async with running(store, first) as predictions:
        created = [await predictions.create(asked(f"word {n}")) for n in range(6)]
        await until(lambda: first.said == PACE.model)
    async with running(store, ScriptedModel()) as predictions:
        for each in created:
            assert "".join((await ended(predictions, each.id)).output) == " " + each.input["p"]


async def test_a_worker_that_lost_its_lease_changes_nothing(store: Store) -> None:
    slow, quick = ScriptedModel(), ScriptedModel()
    slow.gates["word 1"] = asyncio.Event()
    async with running(store, slow, Pace(4, 60, 60)) as one:
        created = await one.create(asked())
        await until(lambda: slow.said == 1)
        await asyncio.sleep(0.1)  # its first look for what waits is over, the next one far away
        await store.write(leases.release)
        async with running(store, quick) as two:
            record = await ended(two, created.id)
            slow.gates["word 1"].set()
            await until(lambda: not one.worker.lives)  # type: ignore[attr-defined]
            assert await stored(store, created.id) == record
    assert record.output == (" one", " two", " three")
    assert record.attempt == 2


async def test_a_lease_that_ran_out_unnoticed_is_taken_again_and_nothing_is_run_twice(store: Store) -> None:
    model = ScriptedModel()
    model.gates["word 1"] = asyncio.Event()
    async with running(store, model) as predictions:
        created = await predictions.create(asked())
        await until(lambda: model.said == 1)
        await store.write(leases.release)  # as if it had not been renewed in time
        predictions.worker._behind.add("m")  # type: ignore[attr-defined]
        await until(lambda: predictions.worker.lives[created.id].stored.attempt == 2)  # type: ignore[attr-defined]
        model.gates["word 1"].set()
        record = await ended(predictions, created.id)
    assert (record.status, record.output, record.attempt) == ("succeeded", (" one", " two", " three"), 2)
    assert model.tries == {"one two three": 1}


async def test_two_servers_share_the_work_and_run_nothing_twice(store: Store) -> None:
    models = [ScriptedModel(), ScriptedModel()]
    for model in models:
        model.pace = 0.005
    async with running(store, models[0]) as one, running(store, models[1]) as two:
        created = await asyncio.gather(*(one.create(asked(f"number {n}")) for n in range(40)))
        records = [await ended(two, record.id) for record in created]
    assert all(record.status == "succeeded" and record.attempt == 1 for record in records)
    tries = [times for model in models for times in model.tries.values()]
    assert sum(tries) == 40
    if not store.alone:
        assert all(model.tries for model in models)


async def test_what_ended_never_changes(store: Store) -> None:
    async with running(store, ScriptedModel()) as predictions:
        record = await ended(predictions, (await predictions.create(asked())).id)
    for values in ({"status": "failed"}, {"output": ("x",)}, {"logs": "x"}):
        fenced = partial(statements.change, record=record, webhooks=[], **values)
        assert not await store.write(fenced)
    assert await stored(store, record.id) == record


async def test_data_are_removed_in_time_and_rows_when_purged(store: Store) -> None:
    async with running(store, ScriptedModel()) as predictions:
        record = await ended(predictions, (await predictions.create(asked())).id)
        now = now_us()
        assert await store.write(partial(forgetting.remove_data, before_us=0, now_us=now, limit=10)) == 0
        assert await store.write(partial(forgetting.remove_data, before_us=now + 1, now_us=now, limit=10)) == 1
        assert await store.write(partial(forgetting.remove_data, before_us=now + 1, now_us=now, limit=10)) == 0
        removed = await stored(store, record.id)
        assert (removed.input, removed.output, removed.logs, removed.generation) == ({}, (), "", "")
        assert (removed.status, removed.removed_us) == ("succeeded", now)
        assert await predictions.follow(record.stream_token) is None
        assert await store.write(partial(forgetting.purge, owner=None, before_us=now + 1, now_us=now, limit=10)) == 1
        assert await predictions.get(record.id, None) is None


async def test_one_that_could_not_be_written_to_its_end_is_taken_up_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ScriptedModel()
    model.gates["word 1"] = asyncio.Event()
    async with running(store, model, SHORT) as predictions:
        created = await predictions.create(asked())
        await until(lambda: model.said == 1)

        async def full(work: object) -> None:
            raise StoreError("the database failed: database or disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(store, "write", full)
            model.gates["word 1"].set()
            await until(lambda: not predictions.worker.lives)  # type: ignore[attr-defined]
        assert not (await stored(store, created.id)).ended
        record = await ended(predictions, created.id)
    assert (record.status, record.error, record.output) == ("succeeded", None, (" one", " two", " three"))
    assert record.attempt >= 2


async def test_one_whose_caller_leaves_while_it_is_stored_is_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for, real = asyncio.Event(), store.write
    async with running(store, ScriptedModel()) as predictions:

        async def slowly(work: Any) -> Any:
            done = await real(work)
            if getattr(work, "func", None) is statements.add_some:
                asked_for.set()
                await asyncio.sleep(0.02)
            return done

        with monkeypatch.context() as patched:
            patched.setattr(store, "write", slowly)
            creating = asyncio.ensure_future(predictions.create(asked()))
            await asked_for.wait()
            creating.cancel()
            await asyncio.wait((creating,))
        [record] = await predictions.page(Filter(), 10)
        assert (await ended(predictions, record.id)).status == "succeeded"


async def test_leases_of_what_does_not_run_here_are_not_renewed(store: Store) -> None:
    model = ScriptedModel()
    model.gates["word 0"] = asyncio.Event()
    async with running(store, model, SHORT) as predictions:
        runs, left = [await predictions.create(asked(f"word {n}")) for n in range(2)]
        await until(lambda: len(model.tries) == 2)
        predictions.worker.lives.pop(left.id)  # type: ignore[attr-defined]
        before = [(await stored(store, each.id)).due_us or 0 for each in (runs, left)]
        async with asyncio.timeout(20):
            while ((await stored(store, runs.id)).due_us or 0) <= before[0]:
                await asyncio.sleep(0.02)
        assert (await stored(store, left.id)).due_us == before[1]
        model.gates["word 0"].set()


# ---- what other dialects need of them -------------------------------------------------------------------------------


async def test_one_that_came_to_nothing_leaves_its_key_to_the_next(store: Store) -> None:
    fails = ScriptedModel(reply=lambda words, time: words if time > 1 else [ContextOverflowError("too long")])
    async with running(store, fails) as predictions:
        first = await predictions.create(asked(idempotency_key="k", replaces=True))
        assert (await ended(predictions, first.id)).status == "failed"
        kept = await predictions.create(asked(idempotency_key="k"))  # without the word it stays
        assert kept.id == first.id
        second = await predictions.create(asked(idempotency_key="k", replaces=True))
        assert second.id != first.id
        assert (await ended(predictions, second.id)).status == "succeeded"
        third = await predictions.create(asked(idempotency_key="k", replaces=True))
        assert third.id == second.id  # this one came to something
        found = await predictions.by_key("me", "k")
        assert found is not None
        assert found.id == second.id
        assert await predictions.by_key("you", "k") is None
        assert (await stored(store, first.id)).status == "failed"


async def test_one_that_is_under_way_keeps_its_key_and_is_found_as_it_grows(store: Store) -> None:
    model = ScriptedModel()
    model.gates = {"word 1": asyncio.Event()}
    async with running(store, model) as predictions:
        first = await predictions.create(asked(idempotency_key="k", replaces=True))
        await until(lambda: model.said == 1)
        await asyncio.sleep(0.01)
        assert (await predictions.create(asked(idempotency_key="k", replaces=True))).id == first.id
        found = await predictions.by_key("me", "k")
        assert found is not None
        assert found.output == (" one",)
        model.gates["word 1"].set()
        await ended(predictions, first.id)


async def test_a_key_is_free_once_the_data_are_removed(store: Store) -> None:
    async with running(store, ScriptedModel()) as predictions:
        first = await predictions.create(asked(idempotency_key="k", replaces=True))
        await ended(predictions, first.id)
        now = now_us() + 1
        await store.write(partial(forgetting.remove_data, before_us=now, now_us=now, limit=10))
        assert (await predictions.create(asked(idempotency_key="k", replaces=True))).id != first.id


async def test_a_failure_has_a_code(store: Store) -> None:
    for error, code in (
        (ContextOverflowError("x"), "context_overflow"), (ImageError("x"), "image"),
        (FetchError("x", "empty_image_file"), "empty_image_file"), (ValueError("x"), "internal"),
    ):  # fmt: skip
        async with running(store, ScriptedModel(reply=lambda words, time, error=error: [error])) as predictions:
            record = await ended(predictions, (await predictions.create(asked())).id)
            assert (record.status, record.error_code) == ("failed", code)


async def test_those_that_succeeded_are_counted(store: Store) -> None:
    async with running(store, ScriptedModel()) as predictions:
        before = now_us()
        for _ in range(2):
            await ended(predictions, (await predictions.create(asked())).id)
        between = now_us()
        await ended(predictions, (await predictions.create(asked())).id)
        moments = (0, before, between, now_us() + 1)
        assert await predictions.succeeded("me", "test", moments) == [(3, 0), (3, 0), (1, 0), (0, 0)]
        assert await predictions.succeeded("you", "test", moments) == [(0, 0)] * 4
