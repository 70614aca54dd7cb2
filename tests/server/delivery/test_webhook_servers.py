"""The deliverer before both databases, whatever servers do: they stop, die, and are two."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from crashing_writes import dying_at
from webhook_desk import PACE, Desk, reaches, tried, until
from webhook_receiver import answer, held, receiving

from triptych.server.delivery.webhooks import Deliverer, Pace
from triptych.server.store import forgetting, webhooks
from triptych.server.store.ids import now_us
from triptych.server.store.store import StoreError


async def crash(deliverer: Deliverer) -> None:
    """All its tasks are gone; nothing is released."""
    tasks = [*deliverer._main, *deliverer._tasks]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await deliverer._poster.close()


@pytest.mark.parametrize("crash_at", range(1, 9))
async def test_a_server_that_dies_at_any_write_loses_nothing_and_keeps_the_order(
    desk: Desk, crash_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await desk.prediction()
    answers: dict[str, Any] = {"/": [answer(), answer("500 Oops"), answer()]}
    async with receiving(answers) as receiver:
        told = await desk.tell(record, "start", "output", "completed", url=receiver.url)
        first = desk.deliverer()
        with dying_at(desk.store, crash_at, monkeypatch):
            first.start()
            await asyncio.sleep(0.15)
            await crash(first)
        async with desk.delivering():
            desk.clock.advance(PACE.lease + 1)
            await reaches(desk, told[-1], "delivered")
    seen = [told.index(got.headers["webhook-id"]) for got in receiver.got]
    assert seen == sorted(seen), "out of order"
    assert set(seen) == {0, 1, 2}
    for each in told[:-1]:
        assert await desk.state(each) in ("delivered", "moot")


async def test_a_server_that_stops_lets_tries_end_and_leaves_the_rest_to_the_next(desk: Desk) -> None:
    gate = asyncio.Event()
    async with receiving({"/short": held(gate), "/": [held(asyncio.Event()), answer()]}) as receiver:
        first = desk.deliverer()
        first.start()
        short, long = await desk.one(receiver.url + "/short"), await desk.one(receiver.url + "/")
        await until(lambda: len(receiver.got) == 2)
        stopping = asyncio.create_task(first.stop())
        await asyncio.sleep(0.02)
        gate.set()
        await stopping
        assert await desk.state(short) == "delivered"
        assert await desk.state(long) == "waiting"
        async with desk.delivering():  # at once, not when the claim runs out
            await reaches(desk, long, "delivered")


async def test_a_retry_waits_over_a_restart(desk: Desk) -> None:
    async with receiving({"/": [answer("500 Oops"), answer()]}) as receiver:
        async with desk.delivering():
            message_id = await desk.one(receiver.url)
            await tried(desk, message_id, 1)
        async with desk.delivering():
            await asyncio.sleep(0.08)
            assert len(receiver.got) == 1
            desk.clock.advance(6)
            await reaches(desk, message_id, "delivered")


async def test_two_servers_send_nothing_twice(desk: Desk) -> None:
    async with receiving() as receiver, desk.delivering() as one, desk.delivering() as two:
        told = []
        for number in range(40):
            told.append(await desk.one(receiver.url))
            (one, two)[number % 2].wake()
        for each in told:
            await reaches(desk, each, "delivered")
    assert sorted(got.headers["webhook-id"] for got in receiver.got) == sorted(told)


async def test_a_try_that_outlived_its_claim_changes_nothing(desk: Desk) -> None:
    gate = asyncio.Event()
    async with receiving({"/": [held(gate, answer("500 Oops")), answer("500 Oops")]}) as receiver, desk.delivering():
        message_id = await desk.one(receiver.url)
        await until(lambda: receiver.got)
        desk.clock.advance(PACE.lease + 1)
        await tried(desk, message_id, 1)
        before = await desk.store.read(partial(webhooks.get, webhook_id=message_id))
        gate.set()
        await tried(desk, message_id, 2)
        after = await desk.store.read(partial(webhooks.get, webhook_id=message_id))
        assert before is not None
        assert after is not None
        assert (after.state, after.due_us, after.attempts) == ("waiting", before.due_us, 2)


async def test_a_store_that_is_away_for_a_moment_delays_and_loses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(work: object) -> None:
        raise StoreError("the database failed: away")

    async with receiving() as receiver:
        message_id = await desk.one(receiver.url)
        with monkeypatch.context() as patched:
            patched.setattr(desk.store, "read", away)
            deliverer = desk.deliverer()
            deliverer.start()
            await asyncio.sleep(0.06)
        await reaches(desk, message_id, "delivered")
        await deliverer.stop()
    assert len(receiver.got) == 1


async def test_what_waits_is_counted(desk: Desk) -> None:
    for _ in range(3):
        await desk.one("https://10.0.0.1/")
    async with desk.delivering(pace=Pace(receiver=1, all=0, count=0.01)):
        await until(lambda: b"triptych_webhooks_waiting 3.0" in desk.metrics.render())


async def test_messages_of_a_prediction_that_was_purged_meanwhile_end_without_an_error(desk: Desk) -> None:
    gate = asyncio.Event()
    async with receiving({"/": held(gate)}) as receiver, desk.delivering():
        record = await desk.prediction()
        [message_id] = await desk.tell(record, "completed", url=receiver.url, status="succeeded", completed_us=1)
        await until(lambda: receiver.got)
        purge = partial(forgetting.purge, owner=None, before_us=now_us(), now_us=now_us(), limit=9)
        assert await desk.store.write(purge) == 0, "what is still to be told stays"
        gate.set()
        await reaches(desk, message_id, "delivered")
        assert await desk.store.write(purge) == 1
        assert await desk.state(message_id) == "deleted"


async def test_a_message_whose_prediction_was_forgotten_is_delivered_and_then_forgotten(desk: Desk) -> None:
    async with receiving({"/": [answer("500 Oops"), answer()]}) as receiver, desk.delivering():
        record = await desk.prediction()
        [message_id] = await desk.tell(record, "completed", url=receiver.url, status="succeeded", completed_us=1)
        await tried(desk, message_id, 1)
        remove = partial(forgetting.remove_data, before_us=now_us(), now_us=now_us(), limit=9)
        assert await desk.store.write(remove) == 1
        assert await desk.state(message_id) == "waiting"
        desk.clock.advance(6)
        await reaches(desk, message_id, "deleted")
    assert len(receiver.got) == 2
