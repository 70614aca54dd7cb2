"""The kinds of messages: how each crosses, how often it is tried, and that none holds up another's receiver."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from webhook_receiver import answer, receiving

from triptych.server.delivery import schedule
from triptych.server.delivery.guard import Guard
from triptych.server.delivery.kinds import KINDS, TASK_WEBHOOK, UPLOAD, WEBHOOK
from triptych.server.delivery.post import Poster
from triptych.server.delivery.webhooks import Deliverer, Pace
from triptych.server.metrics import Metrics
from triptych.server.store import predictions, webhooks
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.predictions import PredictionRecord
from triptych.server.store.store import Store
from triptych.server.store.webhooks import WebhookRecord


async def told(store: Store, *messages: tuple[str, str]) -> list[str]:
    """Write messages of one prediction, each of a kind and to a URL; their ids."""
    now = now_us()
    record = PredictionRecord(
        id=new_id(), owner="me", dialect="test", model="m", generation="{}", created_us=now, stream_token=new_id(),
        worker="w", attempt=1, due_us=now,
    )  # fmt: skip
    await store.write(partial(predictions.add, record=record))
    made = [
        WebhookRecord(new_id(), record.id, "completed", url, "größer", now, now, kind=kind) for kind, url in messages
    ]
    assert await store.write(partial(predictions.change, record=record, webhooks=made, logs="x"))
    return [message.id for message in made]


async def ended(store: Store, message_id: str, seconds: float = 10) -> WebhookRecord:
    async with asyncio.timeout(seconds):
        while True:
            record = await store.read(partial(webhooks.get, webhook_id=message_id))
            assert record is not None
            if record.state != "waiting":
                return record
            await asyncio.sleep(0.02)


@pytest.fixture
async def deliverer(store: Store):
    poster = Poster(Guard.allowing(["127.0.0.1"]), http=True)
    made = Deliverer(store, poster, Metrics(), Pace(look=0.02), draw=lambda: 0.0)
    made.start()
    yield made
    await made.stop()


async def test_each_kind_crosses_in_its_way(store: Store, deliverer: Deliverer) -> None:
    async with receiving() as receiver:
        for kind in (WEBHOOK, TASK_WEBHOOK, UPLOAD):
            [message] = await told(store, (kind, f"{receiver.url}/{kind}"))
            assert (await ended(store, message)).state == "delivered"
    got = {each.path.removeprefix("/"): each for each in receiver.got}
    assert {kind: each.method for kind, each in got.items()} == {WEBHOOK: "POST", TASK_WEBHOOK: "POST", UPLOAD: "PUT"}
    assert all(each.body.decode() == "größer" for each in got.values())
    assert got[WEBHOOK].headers["content-type"] == got[TASK_WEBHOOK].headers["content-type"] == "application/json"
    assert got[UPLOAD].headers["content-type"] == "text/plain; charset=utf-8"
    assert "webhook-signature" in got[TASK_WEBHOOK].headers
    assert not [name for name in got[UPLOAD].headers if name.startswith("webhook-")]


async def test_what_fails_at_one_url_holds_up_no_other(store: Store, deliverer: Deliverer) -> None:
    async with receiving({"/put": answer("500 Oh")}) as receiver:
        upload, hook = await told(store, (UPLOAD, f"{receiver.url}/put"), (TASK_WEBHOOK, f"{receiver.url}/hook"))
        assert (await ended(store, hook, 3)).state == "delivered"
        waiting = await store.read(partial(webhooks.get, webhook_id=upload))
        assert waiting is not None
        assert waiting.state == "waiting"


async def test_a_task_is_told_soon_again(store: Store, deliverer: Deliverer) -> None:
    async with receiving({"/": [answer("500 Oh"), answer("500 Oh"), answer()]}) as receiver:
        [message] = await told(store, (TASK_WEBHOOK, f"{receiver.url}/"))
        record = await ended(store, message, 5)
    assert (record.state, record.attempts, len(receiver.got)) == ("delivered", 3, 3)


def test_how_often_each_is_tried() -> None:
    assert len(KINDS[UPLOAD].completed) == 3
    assert sum(KINDS[UPLOAD].completed) < 60
    assert sum(schedule.TASK[:8]) < 45
    assert KINDS[WEBHOOK].completed == schedule.COMPLETED
