"""The server's table of routes, and what happens when it starts and stops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from . import admin, own
from .backend import Backend
from .dialects.openai import routes as openai
from .dialects.openai.described import groups as openai_groups
from .dialects.openai.errors import OpenAIError
from .dialects.openai.form import to_json
from .dialects.openai.kept import Kept
from .endpoint import Doors
from .exchange import Message, Receive, Scope, Send, request_id
from .operations import Group
from .records import Records
from .service import Service
from .watch import State, Watch
from .web import routes as web

# What scripts in a browser may read of an answer beside its body.
_EXPOSED = (
    "x-request-id", "retry-after", "retry-after-ms", "openai-processing-ms", "openai-version",
    *(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """What the HTTP side needs to know. `most_body` and `most_upload` are bytes, `drain` seconds; `preload` starts with
    the server.
    """

    keys: tuple[str, ...] = ()
    most_body: int = 64 << 20
    most_upload: int = 512 << 20
    drain: float = 30.0
    preload: tuple[Backend, ...] = ()
    cors_origins: tuple[str, ...] = ()


class App:
    """The ASGI application. A trailing slash means nothing; nothing is ever redirected. Without `records` there are no
    routes for what has to be kept.
    """

    def __init__(
        self,
        service: Service,
        options: Options,
        on_stop: Callable[[], Awaitable[None]] | None = None,
        records: Records | None = None,
    ) -> None:
        state, metrics = State(), service.metrics
        doors = Doors(service, Watch(metrics, state), options.keys, options.most_body, options.most_upload)
        kept = None if records is None else Kept.of(records, service)
        self._starlette = Starlette(
            routes=[
                *own.routes(service, metrics, state),
                *web.routes(service, groups(kept is not None), bool(options.keys)),
                *admin.routes(doors),
                *openai.routes(doors, kept),
            ],
            middleware=_middleware(options.cors_origins),
            lifespan=_lifespan(service, options, state, kept, on_stop),
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


def groups(kept: bool) -> tuple[Group, ...]:
    """What the reference tells of: every route in words. `kept` says that there are files and batches."""
    return (*openai_groups(kept), admin.GROUP, own.GROUP, web.GROUP)


async def _with_request_id(scope: Scope, send: Send, message: Message) -> None:
    """Every answer has an id, also those that no endpoint gave."""
    if message["type"] == "http.response.start":
        headers = message["headers"]
        if not any(name == b"x-request-id" for name, _ in headers):
            given = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            message = {**message, "headers": [*headers, (b"x-request-id", request_id(given).encode())]}
    await send(message)


def _lifespan(
    service: Service,
    options: Options,
    state: State,
    kept: Kept | None,
    on_stop: Callable[[], Awaitable[None]] | None,
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.router.start(options.preload)
        if kept is not None:
            await kept.start()
        state.accepting = True
        yield
        state.accepting = False
        if kept is not None:
            await kept.stop()
        await service.router.stop(options.drain)
        if on_stop is not None:
            await on_stop()

    return lifespan


def _middleware(origins: Sequence[str]) -> list[Middleware]:
    if not origins:
        return []
    # For "*" it names the headers that the browser asks for: a literal one would not cover authorization.
    return [
        Middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"],
            expose_headers=list(_EXPOSED),
        )
    ]  # fmt: skip


async def _refused(request: Request, error: Exception) -> Response:
    """Paths and methods that no route takes, in the form of the dialect they were meant for; and what a path takes, for
    those who ask with OPTIONS.
    """
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    if error.status_code != 405:
        return _told(openai.not_found(path))
    allowed = {"allow": ", ".join(_methods(request))}
    if method == "OPTIONS":
        return Response(status_code=204, headers=allowed)
    return _told(openai.wrong_method(method, path), allowed)


def _told(error: OpenAIError, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(error.body()), error.status, {**error.headers, **(headers or {})}, "application/json")


def _methods(request: Request) -> list[str]:
    """What the path takes: all routes with the pattern of the first that matches it."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    pattern = next(route.path for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({"OPTIONS"}.union(*(route.methods or () for route in routes if route.path == pattern)))
