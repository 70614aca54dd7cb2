"""What the server says of itself: whether it is up, its version and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import __version__
from .dialects.openai.form import to_json
from .metrics import CONTENT_TYPE, Metrics
from .operations import JSON, Group, Operation, Reply
from .service import Service
from .watch import State


class Readiness(msgspec.Struct):
    """`degraded` is up, and something behind it is not."""

    status: Literal["ready", "degraded", "not ready"]
    reasons: Annotated[list[str], msgspec.Meta(description="Why it is not all it should be.")]


class Version(msgspec.Struct):
    version: Annotated[str, msgspec.Meta(description="Of Triptych.")]


def routes(service: Service, metrics: Metrics, state: State) -> list[BaseRoute]:
    """None of them asks for a key."""

    async def health(_: Request) -> Response:
        return Response(status_code=200 if state.accepting else 503)

    async def ready(_: Request) -> Response:
        reasons = service.accounts.troubles()
        status = "not ready" if not state.accepting else "degraded" if reasons else "ready"
        told = to_json({"status": status, "reasons": reasons})
        return Response(told, 200 if state.accepting else 503, media_type=JSON)

    async def measured(_: Request) -> Response:
        for model in service.router.models:
            metrics.model_state(model.name, model.state)
            if model.report is not None:
                metrics.replica_report(model.name, model.report)
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    async def version(_: Request) -> Response:
        return Response(to_json({"version": __version__}), media_type=JSON)

    paths: Sequence[tuple[str, Callable[[Request], object]]] = (
        *((path, health) for path in _HEALTH), ("/ready", ready), ("/version", version), ("/metrics", measured),
    )  # fmt: skip
    return [Route(path, handler, methods=["GET", "HEAD"]) for path, handler in paths]


_HEALTH = ("/health", "/ping")

GROUP = Group(
    "Server",
    "What watches and load balancers ask. None of these asks for a key.",
    (
        Operation(
            "GET", "", "Ask whether it is up",
            "Answers without a body: 503 before the server accepts requests and once it was told to stop.",
            (Reply(200, "It accepts requests."), Reply(503, "It does not.")), prefixes=_HEALTH, public=True,
        ),
        Operation(
            "GET", "/ready", "Ask whether all is well",
            "Whether it accepts requests, and what behind it is amiss: while the database is away requests with keys "
            "that are known go on being answered, and what they used waits.",
            (Reply(200, "It accepts requests.", {JSON: Readiness}), Reply(503, "It does not.", {JSON: Readiness})),
            public=True,
        ),
        Operation(
            "GET", "/version", "Ask for its version", "The version of Triptych.",
            (Reply(200, "The version.", {JSON: Version}),), public=True,
        ),
        Operation(
            "GET", "/metrics", "Read its numbers", "Counts and times for Prometheus, in its text format.",
            (Reply(200, "The metrics.", {CONTENT_TYPE.partition(";")[0]: str}),), public=True,
        ),
    ),
)  # fmt: skip
