"""Paths that two dialects have, such as /v1/models and /v1/files, and whose a request for one of them is.

The rule, the first that says something: the mount (`/replicate`, `/openai`, `/runware`); a first segment that only
Replicate has (`predictions` ...) or Runware (`caption` ...), which has `/v1` itself too; the id of a file (OpenAI's
begin with `file-`); the first part of an upload (`content` is Replicate's, `purpose` and `file` are OpenAI's); what
only Replicate's callers send (`Authorization: Token`, `Prefer: wait`, a User-Agent that says replicate, or that of
module-level calls in Replicate's way). Everything else is OpenAI's. Nothing is ever redirected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import BaseRoute, Route

from .exchange import Message, Receive, Scope, Send

Dialect = Literal["openai", "replicate", "runware"]

_ONLY_REPLICATES = frozenset((
    "predictions", "deployments", "collections", "hardware", "account", "trainings", "search", "streams", "webhooks",
))  # fmt: skip
_ONLY_RUNWARES = frozenset((
    "caption", "imageCaption", "getResponse", "getTaskDetails", "imageUpload", "mediaStorage", "modelSearch",
    "accountManagement", "authentication", "ping", "media",
))  # fmt: skip
_FILE_ID = re.compile(r"/files/(?P<openai>file-)?[0-9a-z]{26}(/|$)")
_PART = re.compile(rb'content-disposition:[^\r\n]*?[;\s]name=("[^"\r\n]*"|[^"\s;]+(?=[\s;]))', re.IGNORECASE)
_REPLICATES_PARTS = ("content", "metadata", "filename", "type")
_OPENAIS_PARTS = ("purpose", "file", "expires_after")
# What stands behind a model in a path, and is no part of its name.
_OF_A_MODEL = "versions|predictions|examples|readme|trainings"
# What module-level calls of openai and of Replicate's next major version both say. Only the latter goes without /v1
# where its base URL is the server's root, and has a version that is not released yet.
_MODULE_LEVEL = "_moduleclient/python "
# Bytes of a form in which its first part must show its name.
_MOST_PEEKED = 4096


class _ServedName(StringConvertor):
    """A model's name, with or without slashes."""

    regex = rf"(?:(?!/(?:{_OF_A_MODEL})(?:/|$)).)+"


# In a path it is written {model:served}.
register_url_convertor("served", _ServedName())


def meant(path: str, headers: Mapping[str, str]) -> Dialect:
    """Whose a request is, as far as its path and its headers (lower-case names) say."""
    mount = path.lstrip("/").partition("/")[0]
    for dialect in ("replicate", "openai", "runware"):
        if mount == dialect:
            return dialect
    segments = [part for part in path.split("/") if part and part != "v1"]
    if segments and segments[0] in _ONLY_REPLICATES:
        return "replicate"
    if path == "/v1" or (segments and segments[0] in _ONLY_RUNWARES):
        return "runware"
    if found := _FILE_ID.search(path):
        return "openai" if found["openai"] else "replicate"
    return "replicate" if _from_replicates_caller(path, headers) else "openai"


def _from_replicates_caller(path: str, headers: Mapping[str, str]) -> bool:
    agent = headers.get("user-agent", "").lower()
    return (
        headers.get("authorization", "").partition(" ")[0].lower() == "token"
        or headers.get("prefer", "").strip().lower().startswith("wait")
        or "replicate" in agent
        or (agent.startswith(_MODULE_LEVEL) and ("-beta" in agent or not path.startswith("/v1/")))
    )


class Shared:
    """One path and method that both dialects have an endpoint for."""

    def __init__(self, openai: Any, replicate: Any) -> None:
        self._openai = openai
        self._replicate = replicate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        whose: Dialect | None = None
        if headers.get("content-type", "").lower().startswith("multipart/form-data"):
            part, receive = await _first_part(receive)
            whose = _by_part(part)
        endpoint = self._openai if (whose or meant(scope["path"], headers)) == "openai" else self._replicate
        await endpoint(scope, receive, send)


def _by_part(name: str) -> Dialect | None:
    plain = name.partition("[")[0]
    return "replicate" if plain in _REPLICATES_PARTS else "openai" if plain in _OPENAIS_PARTS else None


async def _first_part(receive: Receive) -> tuple[str, Receive]:
    """The name of a form's first part, "" if it has none; and `receive` as if nothing had been read."""
    messages: list[Message] = []
    body, found = b"", None
    while found is None and len(body) < _MOST_PEEKED:
        messages.append(await receive())
        body += messages[-1].get("body", b"")
        found = _PART.search(body[: 2 * _MOST_PEEKED])
        if not messages[-1].get("more_body"):
            break

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return (found[1].strip(b'"').decode("latin-1") if found else ""), again


def joined(openai: Sequence[BaseRoute], others: Sequence[BaseRoute]) -> list[BaseRoute]:
    """All routes, one for what OpenAI and Replicate share. Names of models may take much of a path, so they go last."""
    theirs = {_place(route): route for route in others}
    routes: list[BaseRoute] = []
    for route in openai:
        other = theirs.pop(_place(route), None)
        if isinstance(route, Route) and isinstance(other, Route):
            methods = sorted(route.methods or ())
            route = Route(route.path, Shared(route.endpoint, other.endpoint), methods=methods)
        routes.append(route)
    return sorted((*routes, *theirs.values()), key=lambda route: ":served}" in getattr(route, "path", ""))


def _place(route: BaseRoute) -> tuple[object, ...]:
    """What only the same path and methods of another dialect are equal to."""
    return (route.path, *sorted(route.methods or ())) if isinstance(route, Route) else (route,)
