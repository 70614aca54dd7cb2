"""Budgets: whatever happens at the same time, no more is spent than allowed, and what was set aside comes back."""

import asyncio
import random
from datetime import UTC, datetime

import pytest
from databases import sqlite_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyholders import caller_with, stored_key

from triptych.server.accounts import budgets as module
from triptych.server.accounts.budgets import Budgets, period_day, period_end
from triptych.server.accounts.errors import BudgetError
from triptych.server.accounts.meter import Meter
from triptych.server.store import budgets as statements
from triptych.server.store import usage as usage_statements
from triptych.server.store.ids import new_id, now_us
from triptych.server.store.store import open_store
from triptych.server.store.usage import DAY_US, UsageRecord
from triptych.server.store.usage_sums import totals


def row(reservation, caller, nano):
    return UsageRecord(
        id=new_id(), request_id="r", owner=caller.id, dialect="openai", model="m", called="m", reason="stop",
        created_us=now_us(), price="{}", cost_nano=nano, grant_day=reservation.day,
    )  # fmt: skip


async def spent_of(store, caller):
    return await store.read(lambda connection: statements.spent(connection, caller.id, 0))


async def granted_of(store, caller, day):
    return await store.read(lambda connection: statements.granted(connection, caller.id, day))


@pytest.mark.parametrize("per", ["day", "week", "month", "total"])
async def test_64_requests_at_once_over_three_servers_never_spend_more_than_the_budget(store, tmp_path, per):
    limit, rng = 1_000_000, random.Random(5)
    caller = await stored_key(store, spend_nano=limit, spend_per=per)
    servers = []
    for name in ("a", "b", "c") if not store.alone else ("a",):
        budgets = Budgets(store, name)
        meter = Meter(store, tmp_path / name, name, budgets)
        await meter.start()
        servers.append((budgets, meter))
    refused = 0

    async def request(number):
        nonlocal refused
        budgets, meter = servers[number % len(servers)]
        for _ in range(8):
            worst = rng.randrange(1, 12_000)
            try:
                reservation = await budgets.reserve(caller, worst)
            except BudgetError:
                refused += 1
                continue
            await asyncio.sleep(rng.random() / 500)
            reservation.tighten(worst - worst // 8)
            cost = rng.choice((0, worst // 2, worst - worst // 8))
            reservation.settle(cost)
            reservation.settle(worst)  # a second end counts for nothing
            meter.record(row(reservation, caller, cost))

    await asyncio.gather(*(request(number) for number in range(64)))
    assert refused, "the race never came to the limit"
    for budgets, meter in servers:
        await meter.stop()
        await budgets.keep()
    day = period_day(per, now_us())
    assert 0.9 * limit < await spent_of(store, caller) <= limit
    assert await granted_of(store, caller, day) == 0, "something stays set aside for ever"
    # What is left can be spent to the last nano-dollar, and nothing more.
    left = limit - await spent_of(store, caller)
    budgets, meter = servers[0]
    assert await budgets.left(caller) == left
    with pytest.raises(BudgetError):
        await budgets.reserve(caller, left + 1)
    assert (await budgets.reserve(caller, left)).nano == left


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["reserve", "settle", "tighten", "flush", "keep", "restart"]),
                  st.integers(0, 400), st.integers(0, 400)),
        max_size=40,
    )
)  # fmt: skip
def test_in_any_order_of_events_spent_and_set_aside_stay_within_the_limit(tmp_path_factory, events):
    asyncio.run(_any_order(tmp_path_factory.mktemp("budget"), events))


async def _any_order(folder, events):
    store = await open_store(sqlite_in(folder), None)
    limit = 1000
    caller = await stored_key(store, spend_nano=limit, spend_per="total")
    budgets = Budgets(store, "one")
    meter = Meter(store, folder / "usage", "one", budgets)
    await meter.start()
    open_ones, charged, names = [], 0, iter(range(10**6))
    for what, first, second in events:
        if what == "reserve":
            room = limit - charged - sum(each.nano for each in open_ones)
            try:
                open_ones.append(await budgets.reserve(caller, first))
                assert first <= room
            except BudgetError:
                assert first > room, "refused what there was enough for"
        elif what == "tighten" and open_ones:
            open_ones[0].tighten(second)
        elif what == "settle" and open_ones:
            reservation = open_ones.pop(first % len(open_ones))
            cost = min(second, reservation.nano)
            reservation.settle(cost)
            meter.record(row(reservation, caller, cost))
            charged += cost
        elif what == "flush":
            await meter.flush()
        elif what == "keep":
            await budgets.keep()
        elif what == "restart":  # killed: what was open is lost, what was recorded is not
            open_ones = []
            meter._task.cancel()
            meter._journal.close(keep=True)
            name = f"server{next(names)}"
            budgets = Budgets(store, name)
            meter = Meter(store, folder / "usage", name, budgets)
            await meter.start()
            await budgets.start()
            budgets._task.cancel()
        taken = await store.read(lambda connection: statements.taken(connection, caller.id, 0))
        assert taken <= limit
    await meter.stop()
    assert await spent_of(store, caller) == charged
    await store.close()


async def test_a_server_that_dies_leaves_its_grant_to_others_when_its_lease_is_over(store, tmp_path, monkeypatch):
    if store.alone:
        pytest.skip("one server has this database to itself")
    caller = await stored_key(store, spend_nano=1000, spend_per="total")
    dead, alive = Budgets(store, "dead"), Budgets(store, "alive")
    await dead.reserve(caller, 900)
    with pytest.raises(BudgetError, match=r"\$0\.0000001 are left"):
        await alive.reserve(caller, 500)
    later = now_us() + 3600 * 1_000_000
    monkeypatch.setattr(module, "now_us", lambda: later)
    assert (await alive.reserve(caller, 500)).nano == 500


async def test_a_clock_that_was_set_back_opens_no_budget_again(store, monkeypatch):
    caller = await stored_key(store, spend_nano=1000, spend_per="day")
    budgets, now = Budgets(store, "one"), now_us()
    monkeypatch.setattr(module, "now_us", lambda: now + DAY_US)
    await budgets.reserve(caller, 1000)
    monkeypatch.setattr(module, "now_us", lambda: now)
    with pytest.raises(BudgetError):
        await budgets.reserve(caller, 1)


async def test_a_key_without_a_budget_reserves_nothing_and_one_with_nothing_is_refused_at_once(store):
    budgets = Budgets(store, "one")
    assert await budgets.reserve(caller_with(), 10**15) is None
    poor = await stored_key(store, spend_nano=0, spend_per="month")
    with pytest.raises(BudgetError, match=r"up to \$0\.00000001, and \$0\.00 are left .* \$0\.00 per month") as refused:
        await budgets.reserve(poor, 10)
    assert refused.value.retry_after <= 31 * 86_400
    # What costs nothing can be had without anything.
    assert (await budgets.reserve(poor, 0)).nano == 0


def us(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


@pytest.mark.parametrize(
    ("per", "at", "begins", "ends"),
    [
        ("day", "2026-02-28T23:59:59.9", "2026-02-28", "2026-03-01"),
        ("week", "2026-11-29T23:59:59", "2026-11-23", "2026-11-30"),
        ("week", "2026-11-30T00:00:00", "2026-11-30", "2026-12-07"),
        ("month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T12:00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_periods_begin_at_midnight_on_mondays_and_on_the_first(per, at, begins, ends):
    assert period_day(per, us(at)) * DAY_US == us(f"{begins}T00:00:00")
    assert period_end(per, us(at)) == us(f"{ends}T00:00:00")
    assert (period_day("total", us(at)), period_end("total", us(at))) == (0, None)


async def test_what_is_added_twice_is_counted_once(store):
    records = [
        UsageRecord(
            id=f"id{number % 3}", request_id="r", owner="o", dialect="openai", model="m", called="m", reason="stop",
            created_us=5 * DAY_US, price="{}", cost_nano=7, prompt_tokens=2,
        )
        for number in range(6)
    ]  # fmt: skip
    assert await store.write(lambda connection: usage_statements.add(connection, records, "s")) == 3
    assert await store.write(lambda connection: usage_statements.add(connection, records, "s")) == 0
    [total] = await store.read(lambda connection: totals(connection, ("day",), "o", 0, 9))
    assert (total.group, total.requests, total.prompt_tokens, total.cost_nano) == ((5,), 3, 6, 21)
