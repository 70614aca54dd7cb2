"""The deliverer before both databases: every message arrives, in order, signed, and once more if it is asked for."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest
from standardwebhooks import Webhook
from webhook_desk import DAY, Desk, reaches, tried, until
from webhook_receiver import answer, held, receiving

from triptych.server.delivery.webhooks import Pace
from triptych.server.store import predictions
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.webhooks import WebhookRecord

# ---- what arrives ---------------------------------------------------------------------------------------------------


async def test_a_message_arrives_at_once_signed_and_is_recorded(desk: Desk) -> None:
    async with receiving() as receiver, desk.delivering(pace=Pace(look=60)) as deliverer:
        await asyncio.sleep(0.05)
        message_id = await desk.one(receiver.url)
        deliverer.wake()
        await reaches(desk, message_id, "delivered")
        [secret] = await deliverer.secrets.of("me")
    [got] = receiver.got
    assert got.headers["webhook-id"] == message_id
    assert Webhook(secret).verify(got.body, got.headers) == {"event": "completed", "n": 0, "é": 1}
    [attempt] = await desk.attempts(message_id)
    assert (attempt.number, attempt.status, attempt.error) == (1, 204, None)
    assert 0 < attempt.seconds_us < 5_000_000
    assert desk.counts() == {"delivered": 1}


async def test_what_nobody_woke_it_for_is_found(desk: Desk) -> None:
    async with receiving() as receiver, desk.delivering():
        await reaches(desk, await desk.one(receiver.url), "delivered")


async def test_messages_of_a_prediction_come_one_after_the_other(desk: Desk) -> None:
    record = await desk.prediction()
    async with receiving() as receiver, desk.delivering() as deliverer:
        told = await desk.tell(record, "start", "output", "logs", "completed", url=receiver.url)
        deliverer.wake()
        await reaches(desk, told[-1], "delivered")
    assert [json.loads(body)["event"] for body in receiver.bodies()] == ["start", "output", "logs", "completed"]
    assert receiver.most_at_once == 1


async def test_a_later_message_does_not_overtake_one_that_waits(desk: Desk) -> None:
    record = await desk.prediction()
    async with receiving({"/": [answer("500 Oops"), answer("500 Oops"), answer()]}) as receiver, desk.delivering():
        [start] = await desk.tell(record, "completed", url=receiver.url)
        await tried(desk, start, 1)
        [later] = await desk.tell(record, "completed", url=receiver.url)
        other = await desk.one(receiver.url + "/other")
        await reaches(desk, other, "delivered")  # other predictions do not wait for it
        assert await desk.attempts(later) == []
        desk.clock.advance(6)
        await tried(desk, start, 2)
        assert await desk.attempts(later) == []
        desk.clock.advance(301)
        await reaches(desk, later, "delivered")
        assert [attempt.status for attempt in await desk.attempts(start)] == [500, 500, 204]
    assert [got.headers["webhook-id"] for got in receiver.got if got.path == "/"] == [start, start, start, later]


async def test_ids_of_a_clock_that_went_backwards_change_no_order(desk: Desk) -> None:
    record = await desk.prediction()
    earlier_id = new_id()
    async with receiving() as receiver:
        [first] = await desk.tell(record, "start", url=receiver.url)
        told = [WebhookRecord(earlier_id, record.id, "completed", receiver.url, "{}", now_us(), now_us())]
        assert earlier_id < first
        assert await desk.store.write(partial(predictions.change, record=record, webhooks=told, logs="y"))
        async with desk.delivering():
            await reaches(desk, earlier_id, "delivered")
    assert [got.headers["webhook-id"] for got in receiver.got] == [first, earlier_id]


# ---- asking again, and secrets --------------------------------------------------------------------------------------


async def test_a_replay_sends_the_same_message_and_begins_the_schedule_anew(desk: Desk) -> None:
    async with receiving({"/": [answer(), answer("500 Oops")]}) as receiver, desk.delivering() as deliverer:
        message_id = await desk.one(receiver.url)
        await reaches(desk, message_id, "delivered")
        again = await deliverer.replay(message_id)
        assert again is not None
        assert (again.state, again.replayed) == ("waiting", 1)
        await tried(desk, message_id, 2)
        assert await desk.state(message_id) == "waiting"
        receiver.answers["/"] = answer()
        desk.clock.advance(6)
        await reaches(desk, message_id, "delivered")
        assert [attempt.number for attempt in await desk.attempts(message_id)] == [1, 2, 3]
        assert await deliverer.replay("nothing") is None
    first, *others = receiver.got
    assert len(others) == 2
    assert {(got.headers["webhook-id"], got.body) for got in others} == {(message_id, first.body)}


async def test_a_replay_while_it_is_under_way_is_two_tries_and_no_error(desk: Desk) -> None:
    gate = asyncio.Event()
    async with receiving({"/": [held(gate, answer("500 Oops")), answer()]}) as receiver, desk.delivering() as deliverer:
        message_id = await desk.one(receiver.url)
        await until(lambda: receiver.got)
        await deliverer.replay(message_id)
        await reaches(desk, message_id, "delivered")
        gate.set()
        await tried(desk, message_id, 2)
        assert await desk.state(message_id) == "delivered"


async def test_while_a_secret_changes_both_sign_and_later_the_new_one_alone(desk: Desk) -> None:
    async with receiving() as receiver, desk.delivering() as deliverer:
        [old] = await deliverer.secrets.of("me")
        new = await deliverer.secrets.rotate("me")
        assert await deliverer.secrets.of("me") == (new, old)
        await reaches(desk, await desk.one(receiver.url), "delivered")
        newest = await deliverer.secrets.rotate("me")
        assert await deliverer.secrets.of("me") == (newest, new)
        assert await deliverer.secrets.of("you") not in ((newest, new), (newest,))
    [got] = receiver.got
    for secret in (old, new):
        Webhook(secret).verify(got.body, got.headers)


async def test_the_old_secret_is_forgotten_in_a_day(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    deliverer = desk.deliverer()
    new = await deliverer.secrets.rotate("me")
    newest = await deliverer.secrets.rotate("me")
    assert await deliverer.secrets.of("me") == (newest, new)
    monkeypatch.setattr("triptych.server.delivery.webhook_secrets.now_us", lambda: now_us() + round(DAY * 1e6) + 1)
    assert await deliverer.secrets.of("me") == (newest,)


async def test_secrets_asked_for_at_once_are_one(desk: Desk) -> None:
    one, two = desk.deliverer(), desk.deliverer()
    found = await asyncio.gather(*(each.secrets.of("me") for each in (one, two) * 5))
    assert len(set(found)) == 1
