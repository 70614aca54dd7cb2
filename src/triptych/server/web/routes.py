"""The server's front page, its reference for people and for programs, and what pages load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ... import __version__
from ..backend import Backend
from ..endpoint import Doors
from ..exchange import Answer, Exchange
from ..openapi import Facts, document
from ..operations import JSON, Group, Operation, Parameter, Reply
from ..origin import origin
from ..service import Service
from .catalogue.routes import OPERATIONS as CATALOGUE
from .curl import colored, curl
from .operations import described as operators
from .page_routes import PageError, page_route
from .pages import html_answer, render
from .playground import FIELDS as PLAYGROUND_FIELDS
from .playground import OPERATIONS as PLAYGROUND
from .reference import reference
from .static_files import PREFIX as STATIC
from .static_files import static_answer

_HTML = "text/html"
# Where each dialect's clients are pointed to; Runware's speak WebSocket first.
_BASES = {"openai": "/v1", "replicate": "", "runware": "/v1"}
_LINKS = {
    "models": "/app/models", "reference": "/reference", "openapi": "/openapi.json", "metrics": "/metrics",
    "health": "/health",
}  # fmt: skip


class Served(msgspec.Struct):
    name: str
    model: Annotated[str, Meta(description="What runs: a checkpoint, or what an upstream calls it.")]
    aliases: list[str]
    state: str
    note: Annotated[str, Meta(description="What to know of it, such as that it is a demonstration.")]


class Home(msgspec.Struct):
    """Who this is and where its doors are."""

    name: str
    version: str
    base_urls: Annotated[dict[str, str], Meta(description="What clients of each API take as their base URL.")]
    models: Annotated[
        list[Served] | None, Meta(description="null if the server asks for keys, but for browsers that signed in.")
    ]
    links: dict[str, str]


OPERATIONS = (
    Operation(
        "GET", "/", "See who this is",
        "The base URLs, the served models with what they really are, and links: a page for browsers, else JSON.",
        (Reply(200, "The front page.", {JSON: Home, _HTML: str}),), public=True,
    ),
    Operation(
        "GET", "/reference", "Read the reference", "This page.",
        (Reply(200, "The page.", {_HTML: str}),), public=True,
    ),
    Operation(
        "GET", "/openapi.json", "Read the reference as a program",
        "The same as an OpenAPI 3.1 document, with the base URL under which it was asked for.",
        (Reply(200, "The document.", {JSON: dict[str, Any]}),), public=True,
    ),
    Operation(
        "GET", STATIC + "/{name:path}", "Load a part of a page",
        "Styles, scripts and pictures. Asked for with the hash of its content as `v`, one holds for ever.",
        (Reply(200, "The file.", {"text/css": str, "text/javascript": str, "image/svg+xml": str, "image/png": bytes}),
         Reply(304, "It is the one whose etag was sent."), Reply(404, "There is none of this name.", {_HTML: str})),
        (Parameter("name", "Which file.", "path", example="style.css"),
         Parameter("v", "The hash of its content.")), public=True,
    ),
)  # fmt: skip


def group(kept: bool) -> Group:
    """All pages in words. `kept` says that there are predictions and what belongs to them."""
    return Group(
        "Pages",
        "For people and their browsers. The front page, the reference and what pages load never ask for a key, and "
        "where the server has keys they do not name its models; the others are for those who signed in.",
        (*OPERATIONS, *CATALOGUE, *PLAYGROUND, *operators.operations(kept)),
        {**PLAYGROUND_FIELDS, **operators.FIELDS},
    )


def routes(doors: Doors, groups: Sequence[Group]) -> list[BaseRoute]:
    """`groups` are what the reference tells of; where there are keys models are named to nobody who gives none."""

    service, keyring = doors.service, doors.accounts.keyring
    there = {"openai", *(group.name.lower() for group in groups)}
    bases = {name: path for name, path in _BASES.items() if name in there}

    @lru_cache(maxsize=8)
    def told(facts: Facts) -> tuple[bytes, str]:
        made = document(groups, facts)
        return msgspec.json.encode(made), reference(made)

    def facts(request: Request) -> Facts:
        asks = keyring.asks
        return Facts(_base(request), asks, *(("MODEL", "MODEL") if asks else _models(service.router.models)))

    async def home(request: Request) -> Response:
        base = _base(request)
        who = doors.accounts.sessions.caller(request.headers)
        asks = keyring.asks and who is None
        found = Home(
            "Triptych", __version__, {name: _client_url(name, base) + path for name, path in bases.items()},
            None if asks else [_served(model) for model in service.router.models],
            {name: base + path for name, path in _LINKS.items()},
        )  # fmt: skip
        if _HTML in request.headers.get("accept", ""):
            line = _line(base, keyring.asks, "MODEL" if asks else _models(service.router.models)[0])
            html = render("home.html", home=found, line=line, colored=colored(line), sign_in=asks, caller=who)
            return _page(request, html, {"vary": "accept, accept-encoding, cookie"})
        return Response(msgspec.json.encode(found), 200, {"vary": "accept, cookie"}, JSON)

    async def page(request: Request) -> Response:
        return _page(request, told(facts(request))[1])

    async def openapi(request: Request) -> Response:
        return Response(told(facts(request))[0], media_type=JSON)

    paths: Sequence[tuple[str, Callable[[Request], object]]] = (
        ("/", home), ("/reference", page), ("/openapi.json", openapi),
    )  # fmt: skip
    return [
        *(Route(path, handler, methods=["GET", "HEAD"]) for path, handler in paths),
        page_route(doors, STATIC + "/{name:path}", _static, public=True),
    ]


async def _static(service: Service, exchange: Exchange, body: bytes) -> Answer:
    answer = static_answer(exchange.scope["path_params"]["name"], exchange.query, exchange.headers)
    if answer is None:
        raise PageError("Pages load nothing of this name.", title="There is no such file")
    return answer


def _page(request: Request, html: str, headers: dict[str, str] | None = None) -> Response:
    answer = html_answer(html, dict(request.headers), more=headers)
    return Response(answer.body, answer.status, dict(answer.headers), answer.content_type)


def _client_url(dialect: str, base: str) -> str:
    """`base` as the clients of a dialect have it."""
    return base.replace("http", "ws", 1) if dialect == "runware" else base


def _line(base: str, key: bool, model: str) -> str:
    """A command that asks a model something."""
    example = {"value": {"model": model, "messages": [{"role": "user", "content": "What is 17 + 25?"}]}}
    return curl(base, "POST", "/v1/chat/completions", {}, key, JSON, example)


def _base(request: Request) -> str:
    """This server's URL as the caller wrote it, without a final slash."""
    return origin(request.scope, request.headers)


def _models(models: Sequence[Backend]) -> tuple[str, str | None]:
    """Models that examples can be about: one that answers questions in words, and one that is known to take images, or
    else may.
    """
    texts = [model.name for model in models if model.info is not None and not model.info.vision]
    seeing = [model.name for model in models if model.info is not None and model.info.vision]
    hopeful = [model.name for model in models if model.info is None]
    likely = [name for name in hopeful if "llava" in name.lower()]
    speaking = [name for name in hopeful if "llava" not in name.lower()]
    return (
        next(iter([*texts, *speaking, *(model.name for model in models)]), "MODEL"),
        next(iter([*seeing, *likely, *hopeful]), None),
    )


def _served(model: Backend) -> Served:
    return Served(model.name, model.model, list(model.aliases), model.state, model.note)
