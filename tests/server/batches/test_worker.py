"""Batches in the background: every line exactly once in the files, whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from sqlalchemy import update

from triptych.server.batches.run import Performed
from triptych.server.batches.worker import BatchWorker, Pace
from triptych.server.files.library import FileLibrary
from triptych.server.store import batches as statements
from triptych.server.store import tables
from triptych.server.store.batches import BatchRecord
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.store import Store

ENDPOINT = "/v1/chat/completions"
# A lease that no busy machine outlives: where it matters a test has its own.
PACE = Pace(lines=3, batches=2, lease=30, look=0.05)


def line(custom_id: str, **more: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": {"model": "m", "n": custom_id}, **more}


def jsonl(lines: list[Any]) -> bytes:
    return b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)


class Answers:
    """Answers each line with its own body; `reply` decides otherwise. Counts how often each was asked."""

    def __init__(self, reply: Callable[[str, int], Performed | None] = lambda custom_id, time: None) -> None:
        self.asked: dict[str, int] = {}
        self.under_way = self.most = 0
        self.seconds = 0.0
        self.gate: asyncio.Event | None = None
        self._reply = reply

    async def __call__(self, endpoint: str, body: bytes, owner: str, row: str) -> Performed:
        assert (endpoint, owner) == (ENDPOINT, "me")
        custom_id = json.loads(body)["n"]
        self.asked[custom_id] = self.asked.get(custom_id, 0) + 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        return self._reply(custom_id, self.asked[custom_id]) or Performed(200, "req_1", body, (5, 2, 3))


async def submit(store: Store, files: FileLibrary, content: bytes, seconds: float = 60, **more: Any) -> str:
    file = await files.add("me", "batch", "in.jsonl", "application/jsonl", content)
    now = now_us()
    record = BatchRecord(
        id=new_id(), owner="me", endpoint=ENDPOINT, completion_window="24h", input_file_id=file.id, created_us=now,
        expires_us=now + round(seconds * 1e6), **more,
    )  # fmt: skip
    await store.write(partial(statements.add, record=record))
    return record.id


async def state(store: Store, batch_id: str) -> BatchRecord:
    record = await store.read(partial(statements.get, batch_id=batch_id))
    assert record is not None
    return record


async def ended(store: Store, batch_id: str) -> BatchRecord:
    async with asyncio.timeout(20):
        while (record := await state(store, batch_id)).status in statements.OPEN:
            await asyncio.sleep(0.01)
    return record


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


async def output(files: FileLibrary, file_id: str | None) -> list[Any]:
    if file_id is None:
        return []
    record = await files.get("me", file_id)
    assert record is not None
    assert record.purpose == "batch_output"
    content = b"".join([part async for part in await files.content(record)])
    return [json.loads(text) for text in content.splitlines()]


async def held(store: Store, files: FileLibrary, answers: Answers, pace: Pace) -> tuple[str, BatchWorker]:
    """A batch, all of whose lines wait at the gate of `answers`, and who works on it."""
    answers.gate = asyncio.Event()
    batch_id = await submit(store, files, jsonl([line(str(n)) for n in range(pace.lines)]))
    worker = BatchWorker(store, files, answers, pace)
    await worker.start()
    await until(lambda: answers.under_way == pace.lines)
    return batch_id, worker


async def test_every_line_is_answered_once_and_failures_have_a_file_of_their_own(
    store: Store, files: FileLibrary
) -> None:
    bad = {"error": {"message": "no"}}
    answers = Answers(lambda n, _: Performed(404, "req_2", json.dumps(bad).encode()) if int(n) % 7 == 3 else None)
    batch_id = await submit(store, files, jsonl([line(str(n)) for n in range(40)]) + b"\n\n")
    worker = BatchWorker(store, files, answers, PACE)
    await worker.start()
    record = await ended(store, batch_id)
    await worker.stop()
    good, errors = await output(files, record.output_file_id), await output(files, record.error_file_id)
    assert {each["custom_id"] for each in errors} == {str(n) for n in range(40) if n % 7 == 3}
    assert {each["custom_id"] for each in good} == {str(n) for n in range(40) if n % 7 != 3}
    assert good[0]["response"] == {"status_code": 200, "request_id": "req_1", "body": {"model": "m", "n": "0"}}
    assert errors[0]["response"] == {"status_code": 404, "request_id": "req_2", "body": bad}
    assert all(each["error"] is None and each["id"].startswith("batch_req_") for each in good + errors)
    assert len({each["id"] for each in good + errors}) == 40
    assert (record.status, record.total, record.completed, record.failed) == ("completed", 40, len(good), len(errors))
    assert (record.input_tokens, record.cached_tokens, record.output_tokens) == tuple(k * len(good) for k in (5, 2, 3))
    assert record.model == "m"
    assert set(answers.asked.values()) == {1}
    assert answers.most == PACE.lines
    assert await store.read(partial(statements.done_lines, batch_id=batch_id)) == set()


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        ([line("a"), b"{not json"], "invalid_json_line", 2),
        ([b'"text"'], "invalid_json_line", 1),
        ([{"custom_id": "a", "url": ENDPOINT, "method": "POST"}], "invalid_json_line", 1),
        ([line("a", body=[1])], "invalid_json_line", 1),
        ([b'{"a":' * 9000], "invalid_json_line", 1),
        ([line("a"), line("b"), line("a")], "duplicate_custom_id", 3),
        ([line("a", method="GET")], "invalid_method", 1),
        ([line("a", url="/v1/completions")], "mismatched_endpoint", 1),
        ([], "empty_file", None),
        ([b"  ", b""], "empty_file", None),
    ],
)
async def test_a_bad_file_fails_with_its_line_and_nothing_is_run(
    store: Store, files: FileLibrary, lines: list[Any], code: str, number: int | None
) -> None:
    answers = Answers()
    batch_id = await submit(store, files, jsonl(lines))
    worker = BatchWorker(store, files, answers, PACE)
    await worker.start()
    record = await ended(store, batch_id)
    await worker.stop()
    assert record.status == "failed"
    [problem] = record.problems
    assert (problem["code"], problem["line"]) == (code, number)
    assert problem["message"].endswith(".")
    assert answers.asked == {}
    assert (record.output_file_id, record.error_file_id) == (None, None)
    assert record.failed_us is not None


async def test_a_request_that_comes_too_early_waits(store: Store, files: FileLibrary) -> None:
    busy = Performed(503, "req_3", b"{}", wait=0.01)
    answers = Answers(lambda custom_id, time: busy if time < 4 else None)
    batch_id = await submit(store, files, jsonl([line("a")]))
    worker = BatchWorker(store, files, answers, PACE)
    await worker.start()
    record = await ended(store, batch_id)
    await worker.stop()
    assert (record.completed, record.failed) == (1, 0)
    assert answers.asked == {"a": 4}


async def test_a_cancelled_batch_keeps_what_was_answered(store: Store, files: FileLibrary) -> None:
    answers = Answers()
    batch_id = await submit(store, files, jsonl([line(str(n)) for n in range(20)]))
    worker = BatchWorker(store, files, answers, PACE)
    await worker.start()
    await until(lambda: len(answers.asked) > 5)
    answers.gate = asyncio.Event()
    await until(lambda: answers.under_way == PACE.lines)
    assert await store.write(partial(statements.cancel, batch_id=batch_id, now_us=now_us()))
    worker.wake(batch_id)
    record = await ended(store, batch_id)
    await worker.stop()
    good, rest = await output(files, record.output_file_id), await output(files, record.error_file_id)
    assert record.status == "cancelled"
    assert record.cancelling_us is not None
    assert record.cancelled_us is not None
    assert answers.under_way == 0
    assert len(good) == record.completed > 0
    assert {each["custom_id"] for each in good + rest} == {str(n) for n in range(20)}
    assert {each["error"]["code"] for each in rest} == {"batch_cancelled"}
    assert all(each["response"] is None for each in rest)
    assert not await store.write(partial(statements.cancel, batch_id=batch_id, now_us=now_us()))


async def test_a_batch_that_expires_keeps_what_was_answered(store: Store, files: FileLibrary) -> None:
    answers = Answers(lambda custom_id, _: None if custom_id in "0123" else Performed(429, "r", b"{}", wait=30))
    batch_id = await submit(store, files, jsonl([line(str(n)) for n in range(10)]), seconds=1.5)
    worker = BatchWorker(store, files, answers, PACE)
    await worker.start()
    record = await ended(store, batch_id)
    await worker.stop()
    good, rest = await output(files, record.output_file_id), await output(files, record.error_file_id)
    assert record.status == "expired"
    assert {each["custom_id"] for each in good} == set("0123")
    assert {each["error"]["code"] for each in rest} == {"batch_expired"}
    assert len(good) + len(rest) == 10


async def test_a_server_that_stops_leaves_the_rest_to_the_next(store: Store, files: FileLibrary) -> None:
    first, second = Answers(), Answers()
    batch_id = await submit(store, files, jsonl([line(str(n)) for n in range(30)]))
    worker = BatchWorker(store, files, first, PACE)
    await worker.start()
    await until(lambda: len(first.asked) > 10)
    await worker.stop()
    middle = await state(store, batch_id)
    assert middle.status == "in_progress"
    assert middle.lease_owner is None
    worker = BatchWorker(store, files, second, PACE)
    await worker.start()
    record = await ended(store, batch_id)
    await worker.stop()
    good = await output(files, record.output_file_id)
    assert sorted(int(each["custom_id"]) for each in good) == list(range(30))
    assert len(second.asked) == 30 - middle.completed
    assert record.completed == 30


async def test_a_batch_of_a_server_that_died_is_taken_up_when_its_lease_is_over(
    store: Store, files: FileLibrary
) -> None:
    batch_id = await submit(store, files, jsonl([line("a")]))
    now = now_us()
    claim = partial(statements.claim, worker="dead", now_us=now, until_us=now + 300_000)
    assert (await store.write(claim)) is not None
    assert (await store.write(claim)) is None
    answers = Answers()
    worker = BatchWorker(store, files, answers, PACE)
    if store.alone:
        await worker.start()  # nobody else can have it
    else:
        await worker.start()
        await asyncio.sleep(0.1)
        assert answers.asked == {}
    record = await ended(store, batch_id)
    await worker.stop()
    assert record.completed == 1


async def test_a_worker_that_lost_its_lease_writes_nothing_more(store: Store, files: FileLibrary) -> None:
    answers = Answers()
    batch_id, slow = await held(store, files, answers, Pace(lines=5, batches=1, lease=30, look=30))
    await store.write(statements.release_all)
    other = Answers()
    quick = BatchWorker(store, files, other, PACE)
    await quick.start()
    record = await ended(store, batch_id)
    answers.gate.set()
    await asyncio.sleep(0.1)
    again = await state(store, batch_id)
    await slow.stop()
    await quick.stop()
    assert record == again
    assert record.completed == 5
    assert len(await output(files, record.output_file_id)) == 5


async def test_a_lease_is_renewed_while_lines_take_long(store: Store, files: FileLibrary) -> None:
    answers = Answers()
    batch_id, worker = await held(store, files, answers, Pace(lines=1, batches=1, lease=0.3, look=30))
    leases: set[int | None] = set()
    async with asyncio.timeout(20):
        while len(leases - {None}) < 4:
            leases.add((await state(store, batch_id)).lease_us)
            await asyncio.sleep(0.01)
    answers.gate.set()
    record = await ended(store, batch_id)
    await worker.stop()
    assert (record.completed, answers.asked) == (1, {"0": 1})


async def test_a_worker_that_was_too_busy_to_renew_its_lease_does_nothing_twice(
    store: Store, files: FileLibrary
) -> None:
    answers = Answers()
    batch_id, worker = await held(store, files, answers, Pace(lines=5, batches=2, lease=30, look=0.01))
    await store.write(lambda connection: connection.execute(update(tables.batches).values(lease_us=1)))
    await asyncio.sleep(0.1)  # several looks for open batches
    answers.gate.set()
    record = await ended(store, batch_id)
    await worker.stop()
    assert record.completed == 5
    assert set(answers.asked.values()) == {1}


async def test_two_servers_share_the_work_and_do_nothing_twice(store: Store, files: FileLibrary) -> None:
    if store.alone:
        pytest.skip("a folder belongs to one server")
    answers = [Answers(), Answers()]
    for each in answers:
        each.seconds = 0.02
    ids = [await submit(store, files, jsonl([line(f"{b}-{n}") for n in range(6)])) for b in range(6)]
    workers = [BatchWorker(store, files, each, PACE) for each in answers]
    for worker in workers:
        await worker.start()
    records = [await ended(store, batch_id) for batch_id in ids]
    for worker in workers:
        await worker.stop()
    assert all(record.completed == 6 for record in records)
    assert all(each.asked for each in answers)
    asked = [custom_id for each in answers for custom_id, times in each.asked.items() for _ in range(times)]
    assert sorted(asked) == sorted(f"{b}-{n}" for b in range(6) for n in range(6))


async def test_an_input_file_that_is_deleted_fails_the_batch(store: Store, files: FileLibrary) -> None:
    batch_id = await submit(store, files, jsonl([line("a")]))
    file = await files.get("me", (await state(store, batch_id)).input_file_id)
    assert file is not None
    await files.delete(file)
    worker = BatchWorker(store, files, Answers(), PACE)
    await worker.start()
    record = await ended(store, batch_id)
    await worker.stop()
    assert record.status == "failed"
    assert record.problems[0]["code"] == "input_file_gone"


@pytest.mark.parametrize("database", [None])  # the same statements; once is enough
@pytest.mark.parametrize("crash_at", range(1, 12))
async def test_a_crash_at_any_write_loses_no_line_and_writes_no_file_twice(
    store: Store, files: FileLibrary, crash_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is gone at its n-th write to the database: nothing after it happens, and another one goes on."""
    batch_id = await submit(store, files, jsonl([line("a"), line("b"), line("c")]))
    writes, real = 0, store.write

    async def write(work: Any) -> Any:
        nonlocal writes
        writes += 1
        if writes >= crash_at:
            await asyncio.Event().wait()
        return await real(work)

    monkeypatch.setattr(store, "write", write)
    dying = BatchWorker(store, files, Answers(), PACE)
    starting = asyncio.create_task(dying.start())
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await until(lambda: writes > crash_at + 2)
    monkeypatch.undo()
    for task in [starting, *dying._tasks, *([dying._main] if dying._main else [])]:
        task.cancel()
    await asyncio.sleep(0.02)
    worker = BatchWorker(store, files, Answers(), PACE)
    await worker.start()
    record = await ended(store, batch_id)
    await worker.stop()
    assert record.status == "completed"
    assert sorted(each["custom_id"] for each in await output(files, record.output_file_id)) == ["a", "b", "c"]
    assert len(await files.page("me", ("batch_output",), None, True, 10)) == 1
