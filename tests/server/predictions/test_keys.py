"""Predictions of a key that is taken away before they begin."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from keyholders import new_key
from prediction_runs import PACE, asked, ended, running
from scripted_model import ScriptedModel

from triptych.replica.protocol import ModelInfo
from triptych.server.accounts.accounts import Accounts
from triptych.server.accounts.keyring import Keyring
from triptych.server.accounts.prices import PriceBook
from triptych.server.accounts.sessions import Sessions
from triptych.server.store.ids import now_us
from triptych.server.store.keys import KeyRecord
from triptych.server.store.store import Store

KEY = new_key()
WHY = "the key that asked for this was revoked"


def accounts() -> Accounts:
    keyring = Keyring()
    keyring.take([KEY])
    return Accounts(keyring, Sessions(keyring), PriceBook("free"))


def revoked() -> KeyRecord:
    return replace(KEY, revoked_us=now_us())


async def test_what_waits_for_room_fails_and_what_runs_is_done(store: Store) -> None:
    model, who = ScriptedModel(), accounts()
    model.gates["word 1"] = asyncio.Event()
    async with running(store, model, accounts=who) as predictions:
        begun = [await predictions.create(asked(f"number {n}", owner=KEY.id)) for n in range(PACE.model)]
        waits = await predictions.create(asked("too late", owner=KEY.id))
        another = await predictions.create(asked("another's", owner="me"))
        dropped = await predictions.create(asked("not wanted", owner=KEY.id))
        who.keyring.take([revoked()])
        assert (await predictions.cancel(dropped)).status == "canceled"
        model.gates["word 1"].set()
        *done, failed = [await ended(predictions, each.id) for each in (*begun, another, waits)]
    assert {record.status for record in done} == {"succeeded"}
    assert (failed.status, failed.error_code, failed.completion_tokens) == ("failed", "forbidden", 0)
    assert failed.error == WHY
    assert f"failed: {WHY}" in failed.logs
    assert "too late" not in model.tries


class Sleeping(ScriptedModel):
    """A model that has to be started, and is not to be."""

    state = "stopped"

    async def ready(self) -> ModelInfo:
        raise AssertionError("it was started")


async def test_for_it_no_model_is_started_and_no_image_is_fetched(store: Store) -> None:
    who = accounts()
    who.keyring.take([revoked()])
    async with running(store, Sleeping(), accounts=who) as predictions:
        made = await predictions.create(asked(owner=KEY.id, sources=("http://img.test/",)))
        record = await ended(predictions, made.id)
    assert (record.status, record.error) == ("failed", WHY)
