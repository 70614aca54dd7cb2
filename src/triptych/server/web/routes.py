"""The server's front page, and its reference for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ... import __version__
from ..backend import Backend
from ..openapi import Facts, document
from ..operations import JSON, Group, Operation, Reply
from ..origin import origin
from ..service import Service
from .pages import policy, render
from .reference import reference

_HTML = "text/html"
# Where each dialect's clients are pointed to.
_BASES = {"openai": "/v1", "replicate": ""}
_LINKS = {"reference": "/reference", "openapi": "/openapi.json", "metrics": "/metrics", "health": "/health"}


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
    models: Annotated[list[Served] | None, Meta(description="null if the server asks for keys.")]
    links: dict[str, str]


GROUP = Group(
    "Pages",
    "For people and their tools. None of these asks for a key; where the server has keys they do not name its models.",
    (
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
    ),
)  # fmt: skip


def routes(service: Service, groups: Sequence[Group], keys: bool) -> list[BaseRoute]:
    """`groups` are what the reference tells of; with `keys` models are named to nobody who gives none."""

    there = {"openai", *(group.name.lower() for group in groups)}
    bases = {name: path for name, path in _BASES.items() if name in there}

    @lru_cache(maxsize=8)
    def told(facts: Facts) -> tuple[bytes, str]:
        made = document(groups, facts)
        return msgspec.json.encode(made), reference(made)

    def facts(request: Request) -> Facts:
        return Facts(_base(request), keys, *(("MODEL", "MODEL") if keys else _models(service.router.models)))

    async def home(request: Request) -> Response:
        found = Home(
            "Triptych", __version__, {name: _base(request) + path for name, path in bases.items()},
            None if keys else [_served(model) for model in service.router.models],
            {name: _base(request) + path for name, path in _LINKS.items()},
        )  # fmt: skip
        if _HTML in request.headers.get("accept", ""):
            return _page(render("home.html", home=found, links=_LINKS), {"vary": "accept"})
        return Response(msgspec.json.encode(found), 200, {"vary": "accept"}, JSON)

    async def page(request: Request) -> Response:
        return _page(told(facts(request))[1])

    async def openapi(request: Request) -> Response:
        return Response(told(facts(request))[0], media_type=JSON)

    paths: Sequence[tuple[str, Callable[[Request], object]]] = (
        ("/", home), ("/reference", page), ("/openapi.json", openapi),
    )  # fmt: skip
    return [Route(path, handler, methods=["GET", "HEAD"]) for path, handler in paths]


def _page(html: str, headers: Mapping[str, str] | None = None) -> Response:
    guards = {
        "content-security-policy": policy(), "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }  # fmt: skip
    return Response(html, 200, {**guards, **(headers or {})}, _HTML)


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
