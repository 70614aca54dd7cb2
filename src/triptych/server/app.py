"""The server's table of routes, and what happens when it starts and stops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import __version__
from . import admin
from .dialects.openai import routes as openai
from .dialects.openai.form import to_json
from .endpoint import Doors
from .exchange import Message, Receive, Scope, Send, request_id
from .metrics import CONTENT_TYPE, Metrics
from .served import ServedModel
from .service import Service
from .watch import State, Watch


@dataclass(frozen=True, slots=True)
class Options:
    """What the HTTP side needs to know. `most_body` is bytes, `drain` seconds; `preload` starts with the server."""

    keys: tuple[str, ...] = ()
    most_body: int = 64 << 20
    drain: float = 30.0
    preload: tuple[ServedModel, ...] = ()
    cors_origins: tuple[str, ...] = ()


class App:
    """The ASGI application. A trailing slash means nothing; nothing is ever redirected."""

    def __init__(
        self,
        service: Service,
        options: Options,
        on_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        state, metrics = State(), service.metrics
        doors = Doors(service, Watch(metrics, state), options.keys, options.most_body)
        self._starlette = Starlette(
            routes=[
                *_own_routes(service, metrics, state),
                *admin.routes(doors),
                *openai.routes(doors),
            ],
            middleware=_middleware(options.cors_origins),
            lifespan=_lifespan(service, options, state, on_stop),
            exception_handlers={HTTPException: _refused},
        )
        self._starlette.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._starlette(scope, receive, send)
            return
        if scope["path"] != "/" and scope["path"].endswith("/"):
            scope["path"] = scope["path"].rstrip("/") or "/"
        await self._starlette(scope, receive, partial(_with_request_id, scope, send))


async def _with_request_id(scope: Scope, send: Send, message: Message) -> None:
    """Every answer has an id, also those that no endpoint gave."""
    if message["type"] == "http.response.start":
        headers = message["headers"]
        if not any(name == b"x-request-id" for name, _ in headers):
            given = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            message = {**message, "headers": [*headers, (b"x-request-id", request_id(given).encode())]}
    await send(message)


def _lifespan(
    service: Service, options: Options, state: State, on_stop: Callable[[], Awaitable[None]] | None
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.router.start(options.preload)
        state.accepting = True
        yield
        state.accepting = False
        await service.router.stop(options.drain)
        if on_stop is not None:
            await on_stop()

    return lifespan


def _middleware(origins: Sequence[str]) -> list[Middleware]:
    if not origins:
        return []
    told = ["x-request-id", "retry-after", "retry-after-ms"]
    cors = Middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"],
                      expose_headers=told)  # fmt: skip
    return [cors]


def _own_routes(service: Service, metrics: Metrics, state: State) -> list[BaseRoute]:
    async def health(_: Request) -> Response:
        return Response(status_code=200 if state.accepting else 503)

    async def measured(_: Request) -> Response:
        for model in service.router.models:
            metrics.model_state(model.name, model.state)
            if model.report is not None:
                metrics.replica_report(model.name, model.report)
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    async def version(_: Request) -> Response:
        return Response(to_json({"version": __version__}), media_type="application/json")

    paths: Sequence[tuple[str, Callable[[Request], object]]] = (
        ("/health", health), ("/ping", health), ("/ready", health), ("/version", version), ("/metrics", measured),
    )  # fmt: skip
    return [Route(path, handler, methods=["GET", "HEAD"]) for path, handler in paths]


async def _refused(request: Request, error: Exception) -> Response:
    """Paths and methods that no route takes, in the form of the dialect they were meant for."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    told = openai.wrong_method(method, path) if error.status_code == 405 else openai.not_found(path)
    headers = {**told.headers, **(error.headers or {})}
    return Response(to_json(told.body()), told.status, headers, "application/json")
