"""Predictions: acknowledged means kept, each runs to its end once, and nothing that ended changes again."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from prediction_runs import PACE, asked, ended, running, stored, until
from scripted_model import ScriptedModel

from triptych.engine.errors import ContextOverflowError, QueueFullError
from triptych.engine.request import SamplingParams
from triptych.server.generation import ModelUnavailableError
from triptych.server.predictions.stored import read_stored
from triptych.server.store import webhooks as hooks
from triptych.server.store.predictions import Filter
from triptych.server.store.store import Store, StoreError


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
        await until(lambda: live.canceled)
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
