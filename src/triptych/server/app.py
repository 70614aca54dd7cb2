"""The server's table of routes, and what happens when it starts and stops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from . import admin, admin_accounts, admin_kept, catalogue, own
from .accounts.accounts import Accounts
from .accounts.cost import Price, PriceMode
from .accounts.keyring import Keyring
from .accounts.office import Office
from .accounts.prices import PriceBook
from .backend import Backend
from .catalogue_described import GROUP as CATALOGUE
from .catalogue_refresh import CatalogueRefresh, Pace
from .delivery.guard import Guard
from .delivery.post import Poster
from .dialects.openai import routes as openai
from .dialects.openai.described import groups as openai_groups
from .dialects.openai.errors import OpenAIError
from .dialects.openai.form import to_json
from .dialects.openai.kept import Kept
from .dialects.replicate import errors as replicate_errors
from .dialects.replicate import routes as replicate
from .dialects.replicate.described import GROUP as REPLICATE
from .dialects.replicate.handlers import Handlers
from .dialects.replicate.shown import DIALECT as REPLICATE_DIALECT
from .dialects.replicate.webhooks import tell as tell_as_replicate
from .dialects.runware import errors as runware_errors
from .dialects.runware import routes as runware
from .dialects.runware.described import GROUP as RUNWARE
from .dialects.runware.sessions import Sessions
from .dialects.runware.shown import DIALECT as RUNWARE_DIALECT
from .dialects.runware.tasks import Tasks
from .dialects.runware.webhooks import tell as tell_as_runware
from .endpoint import Doors, Refusal
from .exchange import Message, Receive, Scope, Send, request_id
from .operations import Group
from .predictions.kept import KeptPredictions
from .records import Records
from .routing import IndexedRouter
from .service import Service
from .shared import joined, meant
from .store.predictions import PredictionRecord
from .store.webhooks import WebhookRecord
from .watch import State, Watch
from .web import page_routes, playground
from .web import routes as web
from .web.catalogue import routes as catalogue_pages
from .web.operations import routes as operations

# What scripts in a browser may read of an answer beside its body.
_EXPOSED = (
    "x-request-id", "retry-after", "retry-after-ms", "openai-processing-ms", "openai-version", "location",
    "preference-applied", "x-triptych-model",
    *(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """What the HTTP side needs to know. `keys_from` is where `keys` are written, for people; with `no_auth` nobody
    needs one. `most_body` and `most_upload` are bytes, `drain` seconds; `preload` starts with the server. What a
    prediction was asked and said is removed `retention` seconds after its end (None: never). Prices that were
    refreshed or measured are in the folder `data` (None: there are none); those of models are as `prices` says, or as
    `own_prices` by the name of the model. The price lists are read again every `refresh` seconds (None: never).
    """

    keys: tuple[str, ...] = ()
    keys_from: str = ""
    no_auth: bool = False
    most_body: int = 64 << 20
    most_upload: int = 512 << 20
    drain: float = 30.0
    preload: tuple[Backend, ...] = ()
    cors_origins: tuple[str, ...] = ()
    retention: float | None = 86_400.0
    data: Path | None = None
    prices: PriceMode = "catalogue"
    own_prices: Mapping[str, Price] = field(default_factory=dict)
    refresh: float | None = None
    price_lists: tuple[str, ...] = ()


class App:
    """The ASGI application. A trailing slash means nothing; nothing is ever redirected. Without `records` there are no
    routes for what has to be kept. `poster` sends webhooks, to public https addresses unless one is given.
    """

    def __init__(
        self,
        service: Service,
        options: Options,
        on_stop: Callable[[], Awaitable[None]] | None = None,
        records: Records | None = None,
        poster: Poster | None = None,
    ) -> None:
        state, metrics = State(), service.metrics
        book = PriceBook(options.prices, options.own_prices, options.data)
        accounts = _accounts(options, book, records)
        service = replace(service, accounts=accounts)
        doors = Doors(service, Watch(metrics, state), accounts, options.most_body, options.most_upload)
        self._state = state
        self._sessions: Sessions | None = None
        kept: Kept | None = None
        theirs: list[BaseRoute] = []
        operators: list[BaseRoute] = []
        by_task: list[BaseRoute] = []
        by_key: list[BaseRoute] = []
        works: list[Works] = []
        if records is not None:
            kept = Kept.of(records, service)
            poster = poster or Poster(Guard())
            predictions = KeptPredictions.of(records, service, tell, poster, options.retention)
            operators = admin_kept.routes(doors, predictions)
            assert accounts.meter is not None
            office = Office(records.store, accounts, service.router.models)
            by_key = admin_accounts.routes(doors, office, accounts.meter)
            theirs = replicate.routes(doors, Handlers.of(records, service, predictions))
            self._sessions = sessions = Sessions()
            tasks = Tasks.of(records, service, predictions, state)
            by_task = runware.routes(doors, tasks, sessions, options.cors_origins)
            works = [kept, predictions, sessions]
            operators += operations.kept_routes(doors, records, predictions, office, accounts.meter, options.keys_from)
        refresh: CatalogueRefresh | None = None
        if options.refresh is not None and options.data is not None:
            refresh = CatalogueRefresh(options.data, options.price_lists, Pace(options.refresh))
            works.append(refresh)
        shelf = catalogue.Shelf(options.data, refresh)
        routes = [
            *own.routes(service, metrics, state),
            *web.routes(doors, groups(kept is not None)),
            *admin.routes(doors),
            *catalogue.routes(doors, shelf),
            *catalogue_pages.routes(doors, shelf),
            *operations.routes(doors),
            *playground.routes(doors, kept is not None),
            *operators,
            *by_key,
            *by_task,
            *joined(openai.routes(doors, kept), theirs),
        ]
        lifespan = _lifespan(service, options, state, [book, accounts], works, poster, on_stop)
        self._starlette = Starlette(
            middleware=_middleware(options.cors_origins), exception_handlers={HTTPException: _refused}
        )
        self._starlette.router = IndexedRouter(routes, lifespan=lifespan)

    async def drain(self) -> None:
        """Take no more work, and wait until every WebSocket has heard of what is under way and is closed."""
        self._state.accepting = False
        if self._sessions is not None:
            await self._sessions.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"] != "/" and scope["path"].endswith("/"):
            scope["path"] = scope["path"].rstrip("/") or "/"
        if scope["type"] != "http":
            await self._starlette(scope, receive, send)
            return
        await self._starlette(scope, receive, partial(_with_request_id, scope, send))


def _accounts(options: Options, book: PriceBook, records: Records | None) -> Accounts:
    store = None if records is None else records.store
    keyring = Keyring(options.keys, store, options.no_auth)
    return Accounts.of(keyring, book, store, None if records is None else records.folder / "usage")


def groups(kept: bool) -> tuple[Group, ...]:
    """What the reference tells of: every route in words. `kept` says that there are files, batches and predictions."""
    lasting = (REPLICATE, RUNWARE, admin_kept.GROUP, admin_accounts.GROUP) if kept else ()
    return (*openai_groups(kept), *lasting, admin.GROUP, CATALOGUE, own.GROUP, web.group(kept))


def tell(record: PredictionRecord, event: str) -> list[WebhookRecord]:
    """What is to be told of a prediction at an event, by the dialect that it was asked in."""
    if record.dialect == RUNWARE_DIALECT:
        return tell_as_runware(record, event)
    return tell_as_replicate(record, event) if record.dialect == REPLICATE_DIALECT else []


class Works(Protocol):
    """What works in the background for as long as the server runs."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


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
    first: Sequence[Works],
    works: Sequence[Works],
    poster: Poster | None,
    on_stop: Callable[[], Awaitable[None]] | None,
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """`first` is there before any model, and until no model runs any more."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        for work in first:
            await work.start()
        await service.router.start(options.preload)
        for work in works:
            await work.start()
        state.accepting = True
        yield
        state.accepting = False
        for work in reversed(works):
            await work.stop()
        if poster is not None:
            await poster.close()
        await service.router.stop(options.drain)
        for work in reversed(first):
            await work.stop()
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
    whose = meant(path, request.headers)
    if error.status_code != 405:
        if path.startswith(f"{page_routes.PREFIX}/"):
            return _refusal(page_routes.refusal(page_routes.PageError("Nothing is at this address.")))
        if whose == "runware":
            return _refusal(runware_errors.refusal(runware_errors.not_found(path)))
        return _problem(replicate_errors.not_found()) if whose == "replicate" else _told(openai.not_found(path))
    allowed = {"allow": ", ".join(_methods(request))}
    if method == "OPTIONS":
        return Response(status_code=204, headers=allowed)
    if whose == "replicate":
        return _problem(replicate_errors.wrong_method(method, path), allowed)
    if whose == "runware":
        return _refusal(runware_errors.refusal(runware_errors.wrong_method(method, path)), allowed)
    return _told(openai.wrong_method(method, path), allowed)


def _told(error: OpenAIError, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(error.body()), error.status, {**error.headers, **(headers or {})}, "application/json")


def _problem(problem: replicate_errors.ProblemError, headers: Mapping[str, str] | None = None) -> Response:
    return _refusal(replicate_errors.refusal(problem), headers)


def _refusal(told: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    return Response(told.body, told.status, {**told.headers, **(headers or {})}, told.content_type)


def _methods(request: Request) -> list[str]:
    """What the path takes: all routes with the pattern of the first that matches it."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    pattern = next(route.path for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({"OPTIONS"}.union(*(route.methods or () for route in routes if route.path == pattern)))
