"""The deliverer before both databases: every message arrives, in order, whatever receivers and servers do."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from standardwebhooks import Webhook
from webhook_receiver import answer, endless, held, receiving, reset, silent

from triptych.server.delivery.guard import Guard
from triptych.server.delivery.post import Poster
from triptych.server.delivery.webhooks import Deliverer, Pace
from triptych.server.metrics import Metrics
from triptych.server.store import forgetting, predictions, webhooks
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.predictions import PredictionRecord
from triptych.server.store.store import Store, StoreError
from triptych.server.store.webhooks import AttemptRecord, WebhookRecord

LOCAL = Guard.allowing(["127.0.0.1"])
PACE = Pace(receiver=3, lease=30, look=0.02, drain=0.2)
DAY = 86_400.0


@dataclass
class Clock:
    """The time of day, which can be put forward."""

    ahead_us: int = 0

    def __call__(self) -> int:
        return now_us() + self.ahead_us

    def advance(self, seconds: float) -> None:
        self.ahead_us += round(seconds * 1e6)


@dataclass
class Desk:
    """A store with predictions, and a deliverer that can be started again."""

    store: Store
    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)

    def deliverer(self, guard: Guard = LOCAL, pace: Pace = PACE, http: bool = True, seconds: float = 5.0) -> Deliverer:
        poster = Poster(guard, http=http, seconds=seconds)
        return Deliverer(self.store, poster, self.metrics, pace, self.clock, draw=lambda: 0.0)

    @asynccontextmanager
    async def delivering(self, **options: Any) -> AsyncIterator[Deliverer]:
        deliverer = self.deliverer(**options)
        deliverer.start()
        try:
            yield deliverer
        finally:
            await deliverer.stop()

    async def prediction(self, owner: str = "me") -> PredictionRecord:
        now = self.clock()
        record = PredictionRecord(
            id=new_id(), owner=owner, dialect="test", model="m", generation="{}", created_us=now,
            stream_token=new_id(), worker="w", attempt=1, due_us=now,
        )  # fmt: skip
        return await self.store.write(partial(predictions.add, record=record))

    async def tell(self, record: PredictionRecord, *events: str, url: str, **values: Any) -> list[str]:
        """Write messages with a change of their prediction; their ids. The body says which event of which it is."""
        now = self.clock()
        told = [
            WebhookRecord(new_id(), record.id, event, url, json.dumps({"event": event, "n": number, "é": 1}), now, now)
            for number, event in enumerate(events)
        ]
        assert await self.store.write(partial(predictions.change, record=record, webhooks=told, logs="x", **values))
        return [message.id for message in told]

    async def one(self, url: str, event: str = "completed", owner: str = "me") -> str:
        [message_id] = await self.tell(await self.prediction(owner), event, url=url)
        return message_id

    async def state(self, message_id: str) -> str:
        found = await self.store.read(partial(webhooks.get, webhook_id=message_id))
        return "deleted" if found is None else found.state

    async def attempts(self, message_id: str) -> list[AttemptRecord]:
        return await self.store.read(partial(webhooks.attempts, webhook_id=message_id))

    def counts(self) -> dict[str, float]:
        families = text_string_to_metric_families(self.metrics.render().decode())
        [family] = [each for each in families if each.name == "triptych_webhook_delivery_seconds"]
        return {each.labels["outcome"]: each.value for each in family.samples if each.name.endswith("_count")}


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.003)


async def reaches(desk: Desk, message_id: str, state: str) -> None:
    async with asyncio.timeout(10):
        while await desk.state(message_id) != state:
            await asyncio.sleep(0.003)


async def tried(desk: Desk, message_id: str, times: int) -> list[AttemptRecord]:
    async with asyncio.timeout(10):
        while len(found := await desk.attempts(message_id)) < times:
            await asyncio.sleep(0.003)
    return found


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


# ---- receivers ------------------------------------------------------------------------------------------------------


async def test_the_long_schedule_is_kept_and_then_it_is_given_up(desk: Desk) -> None:
    async with receiving({"/": answer("500 Oops")}) as receiver, desk.delivering():
        message_id = await desk.one(receiver.url)
        waits = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
        for number, wait in enumerate(waits, 1):
            await tried(desk, message_id, number)
            assert await desk.state(message_id) == "waiting"
            desk.clock.advance(wait - 2)
            await asyncio.sleep(0.05)
            assert len(receiver.got) == number, "too early"
            desk.clock.advance(2)
        await reaches(desk, message_id, "given_up")
    assert len(receiver.got) == 10
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
    times = [int(got.headers["webhook-timestamp"]) for got in receiver.got]
    assert all(later - earlier >= wait - 1 for earlier, later, wait in zip(times[:-1], times[1:], waits, strict=True))
    assert desk.counts() == {"retried": 9, "given_up": 1}


async def test_progress_is_tried_three_times(desk: Desk) -> None:
    async with receiving({"/": answer("500 Oops")}) as receiver, desk.delivering():
        message_id = await desk.one(receiver.url, "output")
        for wait in (1, 5):
            await tried(desk, message_id, 1 if wait == 1 else 2)
            desk.clock.advance(wait)
        await reaches(desk, message_id, "given_up")
    assert len(receiver.got) == 3


async def test_progress_that_failed_is_moot_once_there_is_more(desk: Desk) -> None:
    record, gate = await desk.prediction(), asyncio.Event()
    async with receiving({"/": [held(gate, answer("500 Oops")), answer()]}) as receiver, desk.delivering():
        [first] = await desk.tell(record, "output", url=receiver.url)
        await until(lambda: receiver.got)
        [completed] = await desk.tell(record, "completed", url=receiver.url)
        gate.set()
        await reaches(desk, completed, "delivered")
        assert await desk.state(first) == "moot"
    assert desk.counts() == {"moot": 1, "delivered": 1}


async def test_a_slow_receiver_gets_the_newest_progress_only(desk: Desk) -> None:
    record, gate = await desk.prediction(), asyncio.Event()
    async with receiving({"/": [held(gate), answer()]}) as receiver, desk.delivering():
        [start] = await desk.tell(record, "start", url=receiver.url)
        await until(lambda: receiver.got)
        told = [(await desk.tell(record, "output", "logs", url=receiver.url)) for _ in range(20)]
        [completed] = await desk.tell(record, "completed", url=receiver.url)
        waiting = await desk.store.read(partial(webhooks.page, state="waiting"))
        assert [each.id for each in waiting][::-1] == [start, *told[-1], completed]
        gate.set()
        await reaches(desk, completed, "delivered")
    assert [got.headers["webhook-id"] for got in receiver.got] == [start, *told[-1], completed]


async def test_a_receiver_that_hangs_holds_up_nobody_else_and_gets_few_at_once(desk: Desk) -> None:
    gate = asyncio.Event()
    async with receiving({"/": held(gate)}) as slow, receiving() as quick, desk.delivering() as deliverer:
        stuck = [await desk.one(slow.url) for _ in range(10)]
        deliverer.wake()
        await until(lambda: slow.at_once == PACE.receiver)
        for _ in range(5):
            await reaches(desk, await desk.one(quick.url), "delivered")
        assert slow.most_at_once == PACE.receiver
        gate.set()
        for each in stuck:
            await reaches(desk, each, "delivered")
        assert slow.most_at_once == PACE.receiver


async def test_who_has_too_much_to_do_is_left_alone_for_as_long_as_it_asks(desk: Desk) -> None:
    async with receiving({"/": [answer("429 Busy", retry_after="40"), answer()]}) as receiver, desk.delivering():
        first = await desk.one(receiver.url)
        await tried(desk, first, 1)
        second = await desk.one(receiver.url)
        desk.clock.advance(30)
        await asyncio.sleep(0.08)
        assert len(receiver.got) == 1, "nothing goes there, whatever the schedule says"
        desk.clock.advance(11)
        await reaches(desk, first, "delivered")
        await reaches(desk, second, "delivered")


async def test_a_receiver_that_is_gone_gets_nothing_more_at_that_url(desk: Desk) -> None:
    async with receiving({"/": answer("410 Gone")}) as receiver:
        told = [await desk.one(receiver.url + "/") for _ in range(5)]
        other = await desk.one(receiver.url + "/other")
        async with desk.delivering(pace=Pace(receiver=1, look=0.02)):
            for each in told:
                await reaches(desk, each, "given_up")
            await reaches(desk, other, "delivered")
    assert len(receiver.bodies("/")) == 1


@pytest.mark.parametrize(
    ("given", "status", "error"),
    [
        (answer("302 Found", location="http://127.0.0.1:1/"), 302, "it redirects (status 302), which is not followed"),
        (answer("404 No", b"<html>secret</html>"), 404, "it answered with status 404"),
        (reset, None, "the connection broke"),
        (silent, None, "it did not answer within 0.1 s"),
    ],
    ids=["redirect", "html", "reset", "silent"],
)
async def test_failures_are_recorded_in_words_and_tried_again(
    desk: Desk, given: Any, status: int | None, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with receiving({"/hook?token=sesame": [given, answer()]}) as receiver, desk.delivering(seconds=0.1) as one:
        message_id = await desk.one(receiver.url + "/hook?token=sesame")
        [attempt] = await tried(desk, message_id, 1)
        assert (attempt.status, attempt.error) == (status, error)
        desk.clock.advance(6)
        await reaches(desk, message_id, "delivered")
        [secret] = await one.secrets.of("me")
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("triptych"))
    assert f"webhook {message_id} (completed) to {receiver.url}: retried" in ours
    assert error in ours
    for kept_out in ("sesame", "<html>", secret, secret.removeprefix("whsec_"), '"event"'):
        assert kept_out not in caplog.text


async def test_a_huge_answer_is_a_success_like_any_other(desk: Desk) -> None:
    async with receiving({"/": endless}) as receiver, desk.delivering():
        await reaches(desk, await desk.one(receiver.url), "delivered")


@pytest.mark.parametrize(
    ("options", "error"),
    [({"guard": Guard()}, "its address is not public"), ({"http": False}, "the URL must begin with https://")],
)
async def test_what_the_rules_forbid_is_given_up_and_can_be_replayed(
    desk: Desk, options: dict[str, Any], error: str
) -> None:
    async with receiving() as receiver:
        async with desk.delivering(**options):
            message_id = await desk.one(receiver.url)
            await reaches(desk, message_id, "given_up")
        [attempt] = await desk.attempts(message_id)
        assert attempt.error is not None
        assert error in attempt.error
        assert receiver.connections == 0
        async with desk.delivering() as deliverer:
            assert await deliverer.replay(message_id) is not None
            await reaches(desk, message_id, "delivered")


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


# ---- servers that stop and die --------------------------------------------------------------------------------------


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
        writes, real = 0, desk.store.write

        async def write(work: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes == crash_at and crash_at % 2:  # before it is written, or just after
                await asyncio.Event().wait()
            done = await real(work)
            if writes >= crash_at:
                await asyncio.Event().wait()
            return done

        first = desk.deliverer()
        with monkeypatch.context() as patched:
            patched.setattr(desk.store, "write", write)
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


