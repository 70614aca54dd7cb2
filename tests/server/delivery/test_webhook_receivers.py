"""The deliverer before both databases, whatever receivers do."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import pytest
from webhook_desk import PACE, Desk, reaches, tried, until
from webhook_receiver import answer, endless, held, receiving, reset, silent

from triptych.server.delivery.guard import Guard
from triptych.server.delivery.webhooks import Pace
from triptych.server.store import webhooks


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
        (silent, None, "it did not answer within 0.6 s"),
    ],
    ids=["redirect", "html", "reset", "silent"],
)
async def test_failures_are_recorded_in_words_and_tried_again(
    desk: Desk, given: Any, status: int | None, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seconds = 0.6 if given is silent else 20  # a try that is not to end that way may take its time
    answers = {"/hook?token=sesame": [given, answer()]}
    async with receiving(answers) as receiver, desk.delivering(seconds=seconds) as one:
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
