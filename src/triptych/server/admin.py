"""What operators ask and order: which models run, and that one starts or stops. Under /triptych/v1."""

from __future__ import annotations

import time
from typing import Any

from starlette.routing import BaseRoute, Route

from .dialects.openai.form import to_json
from .dialects.openai.routes import refusal
from .endpoint import Doors, Endpoint, Handler
from .exchange import Answer, Exchange
from .served import ServedModel
from .service import Service

PREFIX = "/triptych/v1"


def routes(doors: Doors) -> list[BaseRoute]:
    """Errors have OpenAI's form here too."""
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/models", list_all),
        ("POST", "/models/{model:path}/start", start),
        ("POST", "/models/{model:path}/stop", stop),
    ]
    return [
        Route(PREFIX + path, Endpoint(doors, "triptych", path, handler, refusal), methods=[method])
        for method, path, handler in table
    ]


async def list_all(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """Every served model with its state, its requests and the phases of its last start."""
    return Answer(to_json({"models": [describe(model) for model in service.router.models]}))


async def start(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """Start a model and wait until it is ready."""
    model = service.router.find(exchange.scope["path_params"]["model"])
    await service.ready(model)
    return Answer(to_json(describe(model)))


async def stop(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """Stop a model when its running requests are over; the next request starts it again."""
    model = service.router.find(exchange.scope["path_params"]["model"])
    await model.stop()
    return Answer(to_json(describe(model)))


def describe(model: ServedModel) -> dict[str, Any]:
    """Bytes, seconds and counts of one model."""
    info = model.info if model.state == "ready" else None
    return {
        "name": model.name,
        "model": model.spec.model,
        "aliases": list(model.spec.aliases),
        "state": model.state,
        "requests": model.under_way,
        "pid": model.pid,
        "precision": info.precision if info else None,
        "device": info.device if info else None,
        "weight_bytes": model.weight_bytes if info else 0,
        "idle_seconds": round(time.monotonic() - model.last_used, 1),
        "phases": {name: round(phase.seconds, 4) for name, phase in model.phases.items()},
        "failure": model.failure or None,
    }
