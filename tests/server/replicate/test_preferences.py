"""How long a caller is kept waiting: always less than its client waits, whatever came before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from predicting import Client

from triptych.server.dialects.replicate.create import CreateRoutes
from triptych.server.dialects.replicate.preferences import read_prefer


@pytest.mark.parametrize(
    ("prefer", "hold"),
    [
        ("wait", 58.0), ("wait=60", 58.0), ("wait=900", 58.0), ("wait=59", 58.0), ("wait=58", 57.75),
        ("wait=5", 4.75), ("wait=1", 0.75), ("wait=0.1", 0.75), ('wait="7"', 6.75), ("wait; x=1, wait=3", 58.0),
    ],
)  # fmt: skip
def test_it_is_less_than_any_client_waits(prefer: str, hold: float) -> None:
    """One gives up half a second behind what it asked for, one after 60 s whatever it asked for."""
    wait = read_prefer(prefer)
    assert wait is not None
    assert wait.hold == hold


def test_what_is_done_before_a_prediction_is_there_counts(slow: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    slow.run("warm")
    prepare: Any = CreateRoutes._prepare

    async def slowly(*given: Any) -> Any:
        await asyncio.sleep(0.6)
        return await prepare(*given)

    monkeypatch.setattr(CreateRoutes, "_prepare", slowly)
    reply = slow.create("one two three four five six", wait=1)
    assert (reply.status, reply.json["status"], reply.json["output"]) == (202, "starting", None)
    assert slow.until(reply.json, "succeeded")["output"] == ["one", " two", " three", " four", " five", " six"]
