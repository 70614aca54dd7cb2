"""The statements on predictions that go past SQLAlchemy on one database: on both they keep what they are given."""

from __future__ import annotations

from functools import partial

from msgspec.structs import asdict, replace

from triptych.server.store import predictions as statements
from triptych.server.store.ids import new_id
from triptych.server.store.predictions import Addition, Filter, PredictionRecord
from triptych.server.store.store import Store

FULL = PredictionRecord(
    id="a1", owner="me", dialect="test", model="m", generation='{"x": "é"}', created_us=1, stream_token="t",
    shown={"a": [1, None]}, input={"p": "\U0001f600 'quoted' \\ \u2028"}, status="processing", output=(" a", "", "\0"),
    error="why", error_code="code", logs="one\ntwo\n", prompt_tokens=1, cached_tokens=2, image_tokens=3,
    completion_tokens=4, started_us=5, first_token_us=6, completed_us=7, deadline_us=8, cancel_us=9, removed_us=10,
    webhook="https://h/", webhook_events=("start", "logs"), idempotency_key="k", worker="w", attempt=1, due_us=1 << 50,
    cold_us=11, cold_phases={"load": 0.25}, cost_nano=12,
)  # fmt: skip


def _other(record: PredictionRecord, number: int) -> PredictionRecord:
    return replace(record, id=f"a{number}", stream_token=str(number), idempotency_key=None)


async def test_every_field_comes_back_as_it_was(store: Store) -> None:
    unset = {name for name, value in asdict(FULL).items() if value in (None, "", (), {}, 0)}
    assert not unset, "a field that is not tested"
    await store.write(partial(statements.add, record=FULL))
    assert await store.read(partial(statements.get, prediction_id="a1")) == FULL
    assert await store.read(partial(statements.by_stream_token, token="t")) == FULL
    assert await store.read(partial(statements.by_idempotency_key, owner="me", key="k")) == FULL
    assert await store.read(partial(statements.page, only=Filter(), limit=9)) == [FULL]
    assert await store.read(partial(statements.get, prediction_id="a2")) is None


async def test_a_change_is_of_what_an_attempt_may_change(store: Store) -> None:
    """Others' columns stay: when it shall be canceled, whose it is and for how long."""
    await store.write(partial(statements.add, record=FULL))
    stale = replace(FULL, cancel_us=None, due_us=3)
    changed = {"output": (" a", " b"), "logs": "three\n", "started_us": 50, "attempt": 2, "cold_phases": {"files": 1.5}}
    assert await store.write(partial(statements.change, record=stale, **changed))
    after = await store.read(partial(statements.get, prediction_id="a1"))
    assert after == replace(FULL, **changed)
    assert not await store.write(partial(statements.change, record=stale, logs="late"))  # of the first attempt
    assert after is not None
    ended = {"status": "succeeded", "completed_us": 60, "error": None, "cost_nano": 7}
    assert await store.write(partial(statements.change, record=after, **ended))
    found = await store.read(partial(statements.get, prediction_id="a1"))
    assert found == replace(after, **ended, worker=None, due_us=None)


async def test_several_are_kept_together_and_each_key_is_one_predictions(store: Store) -> None:
    first = replace(FULL, id="b1", stream_token="b1", status="succeeded", removed_us=None)
    await store.write(partial(statements.add, record=first))
    same, twice = (replace(first, id=f"c{n}", stream_token=f"c{n}", idempotency_key=key) for n, key in enumerate("kz"))
    again = replace(twice, id="c3", stream_token="c3")
    fresh = [_other(first, number) for number in (9, 8)]
    asked = [Addition(record) for record in (fresh[0], same, twice, again, fresh[1])]
    kept = await store.write(partial(statements.add_some, additions=asked))
    assert [record.id for record in kept] == ["a9", "b1", "c1", "c1", "a8"]
    found = await store.read(partial(statements.by_idempotency_keys, owner="me", keys=["k", "z", "none"]))
    assert {key: record.id for key, record in found.items()} == {"k": "b1", "z": "c1"}


async def test_lists_by_model_and_part_of_the_id(store: Store) -> None:
    records = [_other(replace(FULL, model=f"m{number % 2}"), number) for number in range(1, 7)]
    odd = replace(records[0], id="x%_y", stream_token=new_id())
    for record in (*records, odd):
        await store.write(partial(statements.add, record=record))

    async def ids(**only: str) -> list[str]:
        return [record.id for record in await store.scan(partial(statements.page, only=Filter(**only), limit=9))]

    assert await ids(model="m0") == ["a6", "a4", "a2"]
    assert await ids(part="5") == ["a5"]
    assert await ids(part="%") == await ids(part="_") == ["x%_y"]
    assert await ids(part="a", model="m1", status="processing") == ["a5", "a3", "a1"]
    assert await ids(status="failed") == []
