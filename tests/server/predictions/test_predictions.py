"""Predictions: acknowledged means kept, each runs to its end once, and nothing that ended changes again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
from scripted_model import ScriptedModel

from triptych.engine.errors import ContextOverflowError, ImageError, QueueFullError
from triptych.engine.request import SamplingParams
from triptych.server.delivery.failure import FetchError
from triptych.server.generation import ChatPrompt, ModelUnavailableError
from triptych.server.metrics import Metrics
from triptych.server.predictions.predictions import NewPrediction, Predictions
from triptych.server.predictions.stored import StoredGeneration, read_stored
from triptych.server.predictions.worker import Pace, PredictionWorker
from triptych.server.router import Router
from triptych.server.service import Service
from triptych.server.store import forgetting
from triptych.server.store import predictions as statements
from triptych.server.store import webhooks as hooks
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.predictions import Filter, PredictionRecord
from triptych.server.store.store import Store, StoreError
from triptych.server.store.webhooks import WebhookRecord

PACE = Pace(model=4, lease=0.6, look=0.03)


def tell(record: PredictionRecord, event: str) -> list[WebhookRecord]:
    if record.webhook is None or (record.webhook_events and event not in record.webhook_events):
        return []
    now = now_us()
    return [WebhookRecord(new_id(), record.id, event, record.webhook, record.status, now, now)]


def asked(text: str = "one two three", model: str = "m", **more: Any) -> NewPrediction:
    params = more.pop("params", SamplingParams())
    generation = StoredGeneration(ChatPrompt([{"role": "user", "content": text}]), params, more.pop("sources", ()))
    return NewPrediction(owner="me", dialect="test", model=model, generation=generation, input={"p": text}, **more)


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


async def test_a_prediction_runs_to_its_end_and_is_kept(store: Store) -> None:
    async with running(store, ScriptedModel()) as predictions:
        created = await predictions.create(asked())
        assert (created.status, created.output, created.error) == ("starting", (), None)
        record = await ended(predictions, created.id)
        assert record == await stored(store, created.id)
    assert record.status == "succeeded"
    assert record.output == (" one", " two", " three")
    assert (record.prompt_tokens, record.completion_tokens) == (3, 3)
    times = (record.created_us, record.started_us, record.first_token_us, record.completed_us)
    assert list(times) == sorted(times)  # type: ignore[type-var]
    assert "started after" in record.logs
    assert "finished: 3 tokens" in record.logs
    assert record.input == {"p": "one two three"}
    assert record.due_us is None


async def test_output_is_seen_as_it_grows_and_only_grows(store: Store) -> None:
    model = ScriptedModel()
    model.gates = {f"word {n}": asyncio.Event() for n in range(3)}
    async with running(store, model) as predictions:
        created = await predictions.create(asked())
        seen = []
        for gate in model.gates.values():
            gate.set()
            await until(lambda: model.said > len(seen))
            await asyncio.sleep(0.01)
            record = await predictions.get(created.id, "me")
            assert record is not None
            seen.append(record.output)
        await ended(predictions, created.id)
    assert seen == [(" one",), (" one", " two"), (" one", " two", " three")]


async def test_others_do_not_see_it(store: Store) -> None:
    async with running(store, ScriptedModel()) as predictions:
        created = await predictions.create(asked())
        assert await predictions.get(created.id, "you") is None
        await ended(predictions, created.id)
        assert await predictions.get(created.id, "you") is None
        assert await predictions.page(Filter(owner="you"), 10) == []
        assert [record.id for record in await predictions.page(Filter(owner="me"), 10)] == [created.id]


async def test_more_than_there_is_room_for_wait_in_order_and_all_run(store: Store) -> None:
    model = ScriptedModel()
    model.pace = 0.002
    async with running(store, model) as predictions:
        created = [await predictions.create(asked(f"number {n}")) for n in range(30)]
        assert sum(live.stored.attempt for live in predictions.worker.lives.values()) <= PACE.model  # type: ignore[attr-defined]
        records = [await ended(predictions, record.id) for record in created]
    assert all(record.status == "succeeded" and record.attempt == 1 for record in records)
    started = [record.started_us or 0 for record in records]
    assert started[:4] == sorted(started[:4])
    assert max(started[:10]) < max(started[20:])
    assert set(model.tries.values()) == {1}


async def test_the_same_idempotency_key_is_the_same_prediction(store: Store) -> None:
    model = ScriptedModel()
    async with running(store, model) as predictions:
        first = await predictions.create(asked(idempotency_key="k"))
        again = await predictions.create(asked("something else", idempotency_key="k"))
        other = await predictions.create(asked())
        assert again.id == first.id
        assert other.id != first.id
        await ended(predictions, first.id)
        await ended(predictions, other.id)
    assert model.tries == {"one two three": 2}


async def test_sampling_gets_a_seed_that_stays(store: Store) -> None:
    async with running(store, ScriptedModel()) as predictions:
        warm = await predictions.create(asked(params=SamplingParams(temperature=0.5)))
        cold = await predictions.create(asked())
        given = await predictions.create(asked(params=SamplingParams(temperature=0.5, seed=7)))
        assert read_stored(warm.generation).params.seed is not None
        assert read_stored(cold.generation).params.seed is None
        assert read_stored(given.generation).params.seed == 7
        for record in (warm, cold, given):
            await ended(predictions, record.id)


async def test_one_that_cannot_be_run_is_kept_as_failed_and_told_of(store: Store) -> None:
    model = ScriptedModel()
    async with running(store, model) as predictions:
        new = asked(webhook="https://h/", logs="who answers\n", idempotency_key="k")
        record = await predictions.refuse(new, "no such template")
        assert record == await stored(store, new.id)
        assert (record.status, record.error) == ("failed", "no such template")
        assert record.logs == "who answers\nfailed: no such template\n"
        assert record.completed_us == record.created_us
        assert await predictions.wait(new.id, 1) == await predictions.cancel(record) == record
        assert (await predictions.refuse(asked(idempotency_key="k"), "another reason")).id == new.id
    assert model.tries == {}
    told = await store.read(partial(hooks.page, prediction_id=record.id))
    assert [(message.event, message.body) for message in told] == [("completed", "failed")]


async def test_its_log_begins_with_what_its_dialect_says(store: Store) -> None:
    async with running(store, ScriptedModel()) as predictions:
        created = await predictions.create(asked(logs="who answers\n"))
        assert created.logs == "who answers\n"
        assert (await ended(predictions, created.id)).logs.startswith("who answers\nstarted after")


# ---- canceling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["admission", "word 0", "word 2"])
async def test_a_cancel_stops_it_and_keeps_what_was_said(store: Store, place: str) -> None:
    model = ScriptedModel()
    model.gates[place] = asyncio.Event()
    async with running(store, model) as predictions:
        created = await predictions.create(asked())
        words = int(place[-1]) if place.startswith("word") else 0
        await until(lambda: model.said == words and model.tries)
        await asyncio.sleep(0.01)
        live = predictions.worker.lives[created.id]  # type: ignore[attr-defined]
        canceling = asyncio.create_task(predictions.cancel(created))
        await until(live.cancel.is_set)
        model.gates[place].set()
        record = await canceling
        assert record.status == "canceled"
        assert record.output == (" one", " two", " three")[:words]
        assert record.completed_us is not None
        assert "canceled by its caller" in record.logs
        assert await predictions.cancel(record) == record
        assert await stored(store, created.id) == record


async def test_one_that_waits_is_canceled_at_once(store: Store) -> None:
    model = ScriptedModel()
    model.gates["word 0"] = asyncio.Event()
    async with running(store, model) as predictions:
        busy = [await predictions.create(asked(f"busy {n}")) for n in range(PACE.model)]
        waiting = await predictions.create(asked("waiting"))
        record = await predictions.cancel(waiting)
        assert record.status == "canceled"
        assert "waiting" not in model.tries
        model.gates["word 0"].set()
        for each in busy:
            assert (await ended(predictions, each.id)).status == "succeeded"


async def test_a_finished_one_cannot_be_canceled(store: Store) -> None:
    async with running(store, ScriptedModel()) as predictions:
        record = await ended(predictions, (await predictions.create(asked())).id)
        assert await predictions.cancel(record) == record


async def test_a_deadline_cancels(store: Store) -> None:
    model = ScriptedModel()
    model.gates["word 1"] = asyncio.Event()
    async with running(store, model) as predictions:
        created = await predictions.create(asked(lasts=0.5))
        await until(lambda: predictions.worker.lives[created.id].cancel.is_set())  # type: ignore[attr-defined]
        model.gates["word 1"].set()
        record = await ended(predictions, created.id)
    assert record.status == "canceled"
    assert "its deadline has passed" in record.logs
    assert record.output in ((), (" one",))  # what was said in the time, on a machine however busy


# ---- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ContextOverflowError("the prompt has 9 tokens"), "the prompt has 9 tokens"),
        (RuntimeError("/secret/path"), "an internal error; the server's log has the details"),
    ],
)
async def test_an_error_fails_it_with_a_reason(store: Store, error: Exception, told: str) -> None:
    async with running(store, ScriptedModel(reply=lambda words, time: [*words[:1], error])) as predictions:
        record = await ended(predictions, (await predictions.create(asked())).id)
    assert (record.status, record.error, record.output) == ("failed", told, (" one",))
    assert told in record.logs


async def test_an_image_that_cannot_be_had_fails_it(store: Store) -> None:
    async def fetch(url: str) -> bytes:
        raise ContextOverflowError("no such host")

    async with running(store, ScriptedModel(), fetch=fetch) as predictions:
        record = await ended(predictions, (await predictions.create(asked(sources=("http://x/",)))).id)
    assert (record.status, record.error) == ("failed", "image 1: no such host")


async def test_a_model_that_cannot_answer_yet_is_waited_for(store: Store) -> None:
    def reply(words: list[str], time: int) -> list[Any]:
        return [QueueFullError("full")] if time == 1 else words

    async with running(store, ScriptedModel(reply=reply)) as predictions:
        record = await ended(predictions, (await predictions.create(asked())).id)
    assert record.status == "succeeded"
    assert "waiting: full" in record.logs


async def test_a_replica_that_dies_in_the_middle_is_tried_again_and_nothing_is_said_twice(store: Store) -> None:
    def reply(words: list[str], time: int) -> list[Any]:
        return [*words[:2], ModelUnavailableError("it died")] if time == 1 else ["".join(words[:1]), "".join(words[1:])]

    async with running(store, ScriptedModel(reply=reply)) as predictions:
        created = await predictions.create(asked())
        seen: list[tuple[str, ...]] = []
        async for record in await predictions.follow(created.stream_token):  # type: ignore[union-attr]
            assert record.output[: len(seen[-1]) if seen else 0] == (seen[-1] if seen else ())
            seen.append(record.output)
    assert record.status == "succeeded"
    assert record.output == (" one", " two", " three")
    assert record.attempt == 2


async def test_a_second_attempt_that_says_something_else_fails(store: Store) -> None:
    def reply(words: list[str], time: int) -> list[Any]:
        return [*words[:2], ModelUnavailableError("it died")] if time == 1 else [" one", " deux", " three"]

    async with running(store, ScriptedModel(reply=reply)) as predictions:
        record = await ended(predictions, (await predictions.create(asked())).id)
    assert record.status == "failed"
    assert record.error is not None
    assert "another text" in record.error
    assert record.output == (" one", " two")


async def test_a_model_that_always_dies_fails_it_in_the_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triptych.server.predictions.run._LONGEST_WAIT", 0.01)
    model = ScriptedModel(reply=lambda words, time: [words[0], ModelUnavailableError("it died while it was answering")])
    async with running(store, model) as predictions:
        record = await ended(predictions, (await predictions.create(asked())).id)
    assert (record.status, record.error) == ("failed", "it died while it was answering")
    assert record.attempt == 3


async def test_elements_that_clients_take_for_files_are_cut(store: Store) -> None:
    model = ScriptedModel(reply=lambda words, time: ["https://a/b", " see", "data:x", "d"])
    async with running(store, model) as predictions:
        record = await ended(predictions, (await predictions.create(asked())).id)
    assert record.output == ("h", "ttps://a/b", " see", "d", "ata:x", "d")


async def test_a_prediction_that_cannot_be_stored_is_not_acknowledged_and_not_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(work: object) -> None:
        raise StoreError("the database failed: database or disk is full")

    model = ScriptedModel()
    async with running(store, model) as predictions:
        with monkeypatch.context() as patched:
            patched.setattr(store, "write", full)
            with pytest.raises(StoreError):
                await predictions.create(asked())
        assert model.tries == {}
        assert (await ended(predictions, (await predictions.create(asked())).id)).status == "succeeded"


# ---- crashes --------------------------------------------------------------------------------------------------------


async def crash(predictions: Predictions) -> None:
    """All tasks are gone; nothing is released."""
    worker: Any = predictions.worker  # type: ignore[attr-defined]
    tasks = [*worker._main, *worker._tasks]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    worker._main = []


@pytest.mark.parametrize("crash_at", range(1, 9))
async def test_a_server_that_dies_at_any_write_loses_no_acknowledged_prediction(
    store: Store, crash_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, real, acknowledged = 0, store.write, []
    monkeypatch.setattr("triptych.server.predictions.run._FLUSH_EVERY", 0.0)
    first = ScriptedModel()
    first.pace = 0.001
    async with running(store, first) as predictions:

        async def write(work: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes == crash_at and crash_at % 2:  # before it is written, or just after
                await asyncio.Event().wait()
            done = await real(work)
            if writes >= crash_at:
                await asyncio.Event().wait()
            return done

        with monkeypatch.context() as patched:
            patched.setattr(store, "write", write)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.15):
                    acknowledged.append(await predictions.create(asked(webhook="http://x/")))
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
        await store.write(statements.release)
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
        await store.write(statements.release)  # as if it had not been renewed in time
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
        created = [await one.create(asked(f"number {n}")) for n in range(40)]
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
        assert await predictions.succeeded("me", "test", moments) == [3, 3, 1, 0]
        assert await predictions.succeeded("you", "test", moments) == [0] * 4
