"""The page about models: which run, what they need, and what they are doing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from ....engine.errors import TriptychError
from ...admin import describe
from ...backend import Backend
from ...exchange import Answer, Exchange
from ...generation import NotSupportedError, UnknownModelError
from ...service import Service
from ..page_routes import PageError
from ..pages import shown
from ..posted import Fields, see_other
from . import live
from .live import Part
from .timeline import WIDTH, Bar
from .who import admin_only

PATH = "/app/running"
_EVERY = "2s"
# Seconds in which a start that cannot be is seen to fail before the page is shown again.
_A_MOMENT = 0.3
_PHASES = {
    "process": ("Process", "the interpreter and its libraries were loaded"),
    "files": ("Files", "what was missing was downloaded"),
    "load": ("Weights", "weights were mapped or read"),
    "first_token": ("First token", "a trial token was made"),
}


async def show(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """Every served model; with `seen` those that changed since."""
    admin_only(exchange, "What runs here")
    parts = [_part(number, model) for number, model in enumerate(service.router.models, 1)]
    if (has := live.asked(exchange)) is not None:
        return live.changes(exchange, PATH, parts, has, _EVERY)
    return shown(
        exchange, "operations/running.html", section="running", parts=parts,
        asking=live.asking(PATH, parts, _EVERY),
    )  # fmt: skip


async def start(service: Service, exchange: Exchange, fields: Fields) -> Answer:
    """Begin to start a model. The page that follows shows how far it is, and why it failed if it did."""
    model = _find(service, exchange)
    starting = asyncio.ensure_future(service.ready(model))
    try:
        await asyncio.wait((starting,), timeout=_A_MOMENT)
    finally:
        starting.cancel()  # the start itself goes on
        with suppress(asyncio.CancelledError, TriptychError):
            await starting
    return see_other(PATH)


async def stop(service: Service, exchange: Exchange, fields: Fields) -> Answer:
    """Stop a model when its requests are over."""
    model = _find(service, exchange)
    try:
        await model.stop()
    except NotSupportedError as error:
        raise PageError(f"{error}.", 409, "It does not run here") from None
    return see_other(PATH)


def _find(service: Service, exchange: Exchange) -> Backend:
    admin_only(exchange, "What runs here")
    try:
        return service.router.find(exchange.scope["path_params"]["model"])
    except UnknownModelError as error:
        raise PageError(str(error), 404, "No such model") from None


def _part(number: int, model: Backend) -> Part:
    # All that matters may change at any moment, by requests that others send.
    load = Load.of(model.report.values) if model.report is not None else None
    values = {
        "model": describe(model), "info": model.info, "note": model.note, "phases": _bars(model), "load": load,
    }  # fmt: skip
    return Part.of(f"m-{number}", "operations/running_model.html", True, values)


@dataclass(frozen=True, slots=True)
class Load:
    """What a replica reported: sequences, blocks of its cache, and its totals since it started; `per_second` are tokens
    that it wrote in a second of work.
    """

    running: int
    waiting: int
    blocks_used: int
    blocks: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    busy_seconds: float
    per_second: float | None

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Load | None:
        """None of a replica that tells nothing."""
        if not values:
            return None
        whole = {name: int(values.get(name, 0)) for name in _NUMBERS}
        busy = values.get("busy_seconds", 0.0)
        rate = whole["completion_tokens"] / busy if busy > 0 and whole["completion_tokens"] else None
        blocks = int(values.get("blocks_total", 0))
        return cls(**whole, blocks=blocks, busy_seconds=busy, per_second=rate)


_NUMBERS = ("running", "waiting", "blocks_used", "prompt_tokens", "cached_tokens", "completion_tokens")


def _bars(model: Backend) -> list[Bar]:
    """The phases of the last start one after the other, on one scale."""
    phases = list(model.phases.values())
    whole = sum(phase.seconds for phase in phases) or 1.0
    made, at = [], 0.0
    for phase in phases:
        name, explained = _PHASES.get(phase.name, (phase.name, ""))
        width = max(4, round(WIDTH * phase.seconds / whole))
        x = min(round(WIDTH * at / whole), WIDTH - width)
        made.append(Bar(name, phase.name, explained, phase.seconds, x, width, phase.done < phase.total))
        at += phase.seconds
    return made
