"""What a key with a budget pays when a request used more than anybody reckoned with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from triptych.engine.request import SamplingParams, Timing, Usage
from triptych.server.accounts.accounts import Accounts
from triptych.server.accounts.cost import Price, Quantities, from_json, part
from triptych.server.accounts.cost import cost as cost_of
from triptych.server.accounts.keyring import Keyring
from triptych.server.accounts.prices import PriceBook
from triptych.server.admin_usage import bill_of
from triptych.server.backend import Backend
from triptych.server.generation import ChatPrompt, Generation
from triptych.server.store import keys as statements
from triptych.server.store.ids import now_us
from triptych.server.store.keys import KeyRecord, Limits
from triptych.server.store.store import Store, open_store

DOLLAR = 10**9
PRICES = {
    "by time": Price((part("gpu_second", DOLLAR // 60),), "a test"),  # a dollar for the minute that is set aside
    "by token": Price((part("input", 1000 * DOLLAR), part("output", 0)), "a test"),
    "free": Price((part("call", 0),), "a test"),
}


def model(name: str) -> Backend:
    info = SimpleNamespace(max_context=4096, vision=True)
    return cast(Backend, SimpleNamespace(name=name, model=name, upstream=None, info=info))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path, None)
    yield opened
    await opened.close()


@pytest.fixture
async def accounts(store: Store, tmp_path: Path) -> AsyncIterator[Accounts]:
    """Of a server with one key, `me`, whose budget is two dollars."""
    limits = Limits(spend_nano=2 * DOLLAR, spend_per="total")
    key = KeyRecord(id="me", hash="h", start="", name="me", created_us=now_us(), changed_us=now_us(), limits=limits)
    await store.write(partial(statements.add, record=key))
    found = Accounts.of(Keyring((), store), PriceBook("free", PRICES), store, tmp_path / "usage")
    await found.start()
    yield found
    await found.stop()


async def paid(accounts: Accounts, name: str, usage: Usage, seconds: float) -> tuple[Any, int]:
    """The row of a request to a model that used so much, and what the key has left of its budget, in nano-dollars."""
    generation = Generation("r", ChatPrompt([{"role": "user", "content": "a"}]), SamplingParams(max_tokens=9))
    charge = await accounts.charge("me", generation, model(name))
    charge.settle(usage, Timing(total=seconds), "stop")
    assert accounts.meter is not None
    assert accounts.budgets is not None
    [row] = await accounts.meter.page("me", None, 1)
    left = await accounts.budgets.left(accounts.keyring.caller("me"))
    assert left is not None
    return row, left


async def test_a_request_that_took_an_hour_pays_for_the_minute_that_was_set_aside(accounts: Accounts) -> None:
    for number in (1, 2):
        row, left = await paid(accounts, "by time", Usage(10, 0, 0, 9), 3600)
        aside = DOLLAR // 60 * 60
        assert (row.cost_nano, left) == (aside, 2 * DOLLAR - number * aside)
        assert row.seconds_us == 3600 * 10**6  # as it was
        price = from_json(row.price)
        assert cost_of(price, Quantities(10, completion_tokens=9, calls=1, seconds_us=row.seconds_us)) == row.cost_nano
        assert bill_of(row, price)[-1].startswith("at most $0.9999999")


async def test_a_prompt_that_became_longer_than_its_text_stays_within_the_budget(accounts: Accounts) -> None:
    row, left = await paid(accounts, "by token", Usage(4096, 0, 0, 9), 1)
    assert row.cost_nano < 4096 * DOLLAR // 1000
    assert row.cost_nano == 2 * DOLLAR - left
    assert from_json(row.price).most == row.cost_nano


async def test_a_bill_within_what_was_set_aside_has_no_such_end(accounts: Accounts) -> None:
    row, left = await paid(accounts, "by time", Usage(10, 0, 0, 9), 6)
    assert (row.cost_nano, left) == (6 * (DOLLAR // 60), 2 * DOLLAR - row.cost_nano)
    assert from_json(row.price) == PRICES["by time"]
    row, left_after = await paid(accounts, "free", Usage(10, 0, 0, 9), 6)
    assert (row.cost_nano, left_after, from_json(row.price).most) == (0, left, None)
