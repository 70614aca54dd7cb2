"""What operators ask and order: which models run, and that one starts or stops. Under /triptych/v1."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.routing import BaseRoute, Route

from .backend import Backend
from .dialects.openai.described.failures import ALWAYS, BODY, failures
from .dialects.openai.form import to_json
from .dialects.openai.routes import refusal
from .endpoint import NO_BODY, Doors, Endpoint, Handler
from .exchange import Answer, Exchange
from .operations import ANY_MODEL, JSON, Group, Operation, Parameter, Reply
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
        Route(
            PREFIX + path, Endpoint(doors, "triptych", path, handler, refusal, NO_BODY, admin=method == "POST"),
            methods=[method],
        )
        for method, path, handler in table
    ]  # fmt: skip


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


def describe(model: Backend) -> dict[str, Any]:
    """Bytes, seconds and counts of one model."""
    info = model.info if model.state == "ready" else None
    return {
        "name": model.name,
        "model": model.model,
        "upstream": model.upstream,
        "aliases": list(model.aliases),
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


# ---- in words -------------------------------------------------------------------------------------------------------


class ModelState(msgspec.Struct):
    """A served model as operators see it."""

    name: str
    model: Annotated[str, Meta(description="An embedded model, a folder, a hub id, or what an upstream calls it.")]
    upstream: Annotated[str | None, Meta(description="The address of the server that answers for it, if one does.")]
    aliases: list[str]
    state: Literal["stopped", "starting", "ready", "failed"]
    requests: Annotated[int, Meta(description="Those under way.")]
    pid: Annotated[int | None, Meta(description="The process that runs it.")]
    precision: Annotated[str | None, Meta(description="How its weights are held, while it runs.")]
    device: str | None
    weight_bytes: int
    idle_seconds: Annotated[float, Meta(description="Since a request began or ended.")]
    phases: Annotated[dict[str, float], Meta(description="Seconds that each phase of the last start took.")]
    failure: str | None


class ModelStates(msgspec.Struct):
    models: list[ModelState]


_MODEL = Parameter("model", "A served name, with its slashes as they are.", "path", example=ANY_MODEL)

GROUP = Group(
    "Operators",
    "What `triptych ps` and `triptych stop` call.",
    (
        Operation(
            "GET", PREFIX + "/models", "Show what runs", list_all.__doc__ or "",
            (Reply(200, "The models.", {JSON: ModelStates}), *failures(ALWAYS)),
        ),
        Operation(
            "POST", PREFIX + "/models/{model:path}/start", "Start a model", start.__doc__ or "",
            (Reply(200, "It is ready.", {JSON: ModelState}), *failures((404, 500, 502, *BODY))), (_MODEL,),
        ),
        Operation(
            "POST", PREFIX + "/models/{model:path}/stop", "Stop a model", stop.__doc__ or "",
            (Reply(200, "It is stopped.", {JSON: ModelState}), *failures((404, 500, 502, *BODY))), (_MODEL,),
        ),
    ),
)  # fmt: skip
