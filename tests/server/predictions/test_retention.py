"""What predictions were asked and said is forgotten in time, with their files and with nobody else's."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from triptych.server.files.library import FileLibrary
from triptych.server.predictions.retention import Retention, purge
from triptych.server.store import predictions as statements
from triptych.server.store import webhooks
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.predictions import INPUT_FILE, PredictionRecord
from triptych.server.store.store import Store, StoreError
from triptych.server.store.webhooks import WebhookRecord

HOUR = 3600.0


async def ended(store: Store, ago: float, *reads: str, owner: str = "me", told: str = "", **more: Any) -> str:
    """The id of a prediction that ended so many seconds ago."""
    now = now_us()
    record = PredictionRecord(
        id=new_id(), owner=owner, dialect="test", model="m", generation='{"x": 1}', created_us=now,
        stream_token=new_id(), input={"p": "secret"}, output=("said",), logs="log", status="succeeded",
        completed_us=now - round(ago * 1e6), **more,
    )  # fmt: skip
    state = {"state": told, "due_us": now if told == "waiting" else None}
    messages = [WebhookRecord(new_id(), record.id, "completed", "https://x/", "secret", now, **state)] if told else []
    await store.write(partial(statements.add, record=record, reads=reads, webhooks=messages))
    return record.id


async def found(store: Store, prediction_id: str) -> PredictionRecord | None:
    return await store.read(partial(statements.get, prediction_id=prediction_id))


async def given(files: FileLibrary, purpose: str = INPUT_FILE) -> str:
    return (await files.add("me", purpose, "a.png", "image/png", b"pixels")).id


async def there(files: FileLibrary, *ids: str) -> list[bool]:
    """Which files there are, once what has expired is deleted."""
    await files.purge()
    return [await files.get("me", each) is not None for each in ids]


async def test_old_data_are_removed_and_the_record_stays(store: Store) -> None:
    old, young = await ended(store, 2 * HOUR), await ended(store, 0.5 * HOUR)
    running = await ended(store, 0)
    await store.write(partial(_reopen, running))
    retention = Retention(store, HOUR)
    assert await retention.remove() == 1
    assert await retention.remove() == 0
    record = await found(store, old)
    assert record is not None
    assert (record.input, record.output, record.logs, record.generation) == ({}, (), "", "")
    assert (record.status, record.removed_us is not None) == ("succeeded", True)
    for each in (young, running):
        kept = await found(store, each)
        assert kept is not None
        assert kept.input == {"p": "secret"}


def _reopen(prediction_id: str, connection: Any) -> None:
    from sqlalchemy import update

    from triptych.server.store.tables import predictions

    connection.execute(
        update(predictions).where(predictions.c.id == prediction_id).values(status="processing", completed_us=None)
    )


async def test_without_a_time_nothing_is_removed(store: Store) -> None:
    prediction_id = await ended(store, 1e6)
    assert await Retention(store, None).remove() == 0
    record = await found(store, prediction_id)
    assert record is not None
    assert record.removed_us is None


async def test_more_than_fit_into_a_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triptych.server.predictions.retention._SOME", 3)
    for _ in range(10):
        await ended(store, 2 * HOUR)
    assert await Retention(store, HOUR).remove() == 10
    assert await purge(store, None, now_us()) == 10


async def test_files_go_with_the_last_prediction_that_read_them(store: Store, files: FileLibrary) -> None:
    alone, both, other = [await given(files) for _ in range(3)]
    upload = await given(files, "user_data")
    await ended(store, 2 * HOUR, alone, both, upload)
    await ended(store, 0.5 * HOUR, both, other)
    assert await Retention(store, HOUR).remove() == 1
    assert await there(files, alone, both, upload, other) == [False, True, True, True]
    assert await Retention(store, 0.1 * HOUR).remove() == 1
    assert await there(files, alone, both, upload, other) == [False, False, True, False]


async def test_files_go_with_what_is_purged(store: Store, files: FileLibrary) -> None:
    mine, yours = await given(files), await given(files)
    one = await ended(store, 2 * HOUR, mine, told="delivered")
    two = await ended(store, 2 * HOUR, yours, owner="you")
    waiting = await ended(store, 2 * HOUR, told="waiting")
    before = now_us() - round(HOUR * 1e6)
    assert await purge(store, "me", before) == 1
    assert [await found(store, each) is not None for each in (one, two, waiting)] == [False, True, True]
    assert await there(files, mine, yours) == [False, True]
    assert [each.prediction_id for each in await store.read(webhooks.page)] == [waiting]
    assert await purge(store, None, before) == 1
    assert await there(files, mine, yours) == [False, False]


async def test_files_whose_prediction_never_came_about_go(
    store: Store, files: FileLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, unread, upload = await given(files), await given(files), await given(files, "user_data")
    await ended(store, 0, read)
    retention = Retention(store, HOUR)
    assert await retention.expire_unread() == 0
    monkeypatch.setattr("triptych.server.predictions.retention._UNREAD_SECONDS", -1.0)
    assert await retention.expire_unread() == 1
    assert await there(files, read, unread, upload) == [True, False, True]


async def test_what_was_told_goes_and_what_is_to_be_told_stays(store: Store) -> None:
    await ended(store, 2 * HOUR, told="delivered")
    waiting = await ended(store, 2 * HOUR, told="waiting")
    assert await Retention(store, HOUR).remove() == 2
    [left] = await store.read(webhooks.page)
    assert (left.prediction_id, left.body) == (waiting, "secret")


async def test_it_is_swept_in_the_background_and_a_store_that_is_away_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("triptych.server.predictions.retention._SWEEP_EVERY", 0.01)
    prediction_id = await ended(store, 2 * HOUR)

    async def away(work: object) -> None:
        raise StoreError("the database failed: away")

    retention = Retention(store, HOUR)
    with monkeypatch.context() as patched:
        patched.setattr(store, "write", away)
        retention.start()
        await asyncio.sleep(0.03)
    async with asyncio.timeout(10):
        while (record := await found(store, prediction_id)) is None or record.removed_us is None:
            await asyncio.sleep(0.005)
    await retention.stop()
    assert "the data of old predictions cannot be removed" in caplog.text
