"""The catalogue over HTTP, under /catalogue: models, providers, prices with sources, what a workload costs."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date as Day
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute, Route

from ..catalogue.catalogue import Catalogue
from ..catalogue.errors import CatalogueError, UnknownNameError, WorkloadError
from ..catalogue.load import load, state, today
from ..catalogue.views import Views
from ..catalogue.workload import CRITERIA, FIELDS, Workload, default_workload, read_workload
from .catalogue_refresh import CatalogueRefresh
from .dialects.openai.errors import OpenAIError
from .dialects.openai.form import to_json
from .dialects.openai.routes import refusal
from .endpoint import Doors, Endpoint, Handler
from .exchange import Answer, Exchange
from .service import Service

PREFIX = "/catalogue"
# A browser may show what it has for this long, in seconds; after that it asks whether it still holds.
_FRESH = 60
_MOST_KEPT = 256
_MOST_COMPARED = 8

_Question = Callable[["Snapshot", Mapping[str, str], str], Any]


@dataclass(slots=True)
class Snapshot:
    """The catalogue as it was loaded, on one day, and the answers that were made of it."""

    catalogue: Catalogue
    views: Views
    key: tuple[object, ...]
    answers: dict[tuple[str, bytes], tuple[bytes, str]] = field(default_factory=dict)


class Shelf:
    """The catalogue of a server with the data folder `data` (None: the packaged one alone). It is loaded on first use,
    and again when a record was added, a day has passed, or `refresh` could not read a list.
    """

    def __init__(self, data: Path | None, refresh: CatalogueRefresh | None = None) -> None:
        self._data = data
        self._refresh = refresh
        self._snapshot: Snapshot | None = None
        self._loading = asyncio.Lock()

    async def snapshot(self, service: Service) -> Snapshot:
        failed = () if self._refresh is None else self._refresh.failed
        on = today()
        key = (on, state(self._data), tuple((each.list, each.at) for each in failed))
        if self._snapshot is None or self._snapshot.key != key:
            async with self._loading:
                if self._snapshot is None or self._snapshot.key != key:
                    catalogue = await asyncio.to_thread(load, self._data, on)
                    views = Views(catalogue, on, _served(catalogue, service), failed)
                    self._snapshot = Snapshot(catalogue, views, key)
        return self._snapshot


def routes(doors: Doors, shelf: Shelf) -> list[BaseRoute]:
    """Errors have OpenAI's form here too."""
    table: list[tuple[str, _Question]] = [
        ("/models", _models),
        ("/models/{name:path}", _model),
        ("/providers", _providers),
        ("/providers/{name}", _provider),
        ("/compare", _compare),
        ("/cheapest", _cheapest),
        ("/changes", _changes),
    ]
    return [
        Route(PREFIX + path, Endpoint(doors, "triptych", PREFIX + path, _handler(shelf, question), refusal),
              methods=["GET"])
        for path, question in table
    ]  # fmt: skip


def _served(catalogue: Catalogue, service: Service) -> dict[str, list[str]]:
    """By model, the names under which this server serves its weights: what runs counts, not what it is called."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for backend in service.router.models:
        model = catalogue.known_model(backend.model)
        if model is not None:
            found[model.id].append(backend.name)
    return dict(found)


def _handler(shelf: Shelf, question: _Question) -> Handler:
    async def handle(service: Service, exchange: Exchange, body: bytes) -> Answer:
        snapshot = await shelf.snapshot(service)
        key = (exchange.scope["path"], exchange.scope["query_string"])
        made = snapshot.answers.get(key)
        if made is None:
            name = exchange.scope["path_params"].get("name", "")
            answer = to_json(_asked(question, snapshot, exchange.query, name))
            made = answer, f'"{hashlib.sha256(answer).hexdigest()[:24]}"'
            if len(snapshot.answers) < _MOST_KEPT:
                snapshot.answers[key] = made
        answer, tag = made
        headers = {"etag": tag, "cache-control": f"private, max-age={_FRESH}"}
        if tag in exchange.headers.get("if-none-match", "").replace("W/", "").replace(",", " ").split():
            return Answer(b"", 304, headers=headers)
        return Answer(answer, headers=headers)

    return handle


def _asked(question: _Question, snapshot: Snapshot, query: Mapping[str, str], name: str) -> Any:
    """The answer. Raises OpenAIError."""
    try:
        return question(snapshot, query, name)
    except UnknownNameError as error:
        raise OpenAIError(_sentence(error), error.kind, "not_found", 404) from None
    except WorkloadError as error:
        raise OpenAIError(_sentence(error), error.field[:100] or None) from None
    except CatalogueError as error:
        raise OpenAIError(_sentence(error)) from None


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[0].upper()}{text[1:]}{'' if text[-1] in '.?' else '.'}"


def _models(snapshot: Snapshot, query: Mapping[str, str], name: str) -> Any:
    _only(query)
    return snapshot.views.models()


def _model(snapshot: Snapshot, query: Mapping[str, str], name: str) -> Any:
    _only(query)
    return snapshot.views.model(snapshot.catalogue.model(name))


def _providers(snapshot: Snapshot, query: Mapping[str, str], name: str) -> Any:
    _only(query)
    return snapshot.views.providers()


def _provider(snapshot: Snapshot, query: Mapping[str, str], name: str) -> Any:
    _only(query)
    return snapshot.views.provider(snapshot.catalogue.provider(name))


def _compare(snapshot: Snapshot, query: Mapping[str, str], name: str) -> Any:
    _only(query, "models", "by", *FIELDS)
    names = [each.strip() for each in query.get("models", "").split(",") if each.strip()]
    if not 1 <= len(names) <= _MOST_COMPARED:
        raise OpenAIError(f"Name one to {_MOST_COMPARED} models, with commas between them.", "models")
    models = list(dict.fromkeys(snapshot.catalogue.model(each) for each in names))
    return snapshot.views.compare(models, _workload(query))


def _cheapest(snapshot: Snapshot, query: Mapping[str, str], name: str) -> Any:
    _only(query, "model", "by", *FIELDS)
    if not query.get("model"):
        raise OpenAIError("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    model = snapshot.catalogue.model(query["model"])
    return snapshot.views.cheapest(model, _workload(query) or default_workload(model))


def _changes(snapshot: Snapshot, query: Mapping[str, str], name: str) -> Any:
    _only(query, "since", "until")
    if "since" not in query:
        raise OpenAIError("Missing required parameter: 'since'.", "since", "missing_required_parameter")
    return snapshot.views.changes(_day(query, "since"), _day(query, "until") if "until" in query else today())


def _only(query: Mapping[str, str], *known: str) -> None:
    for name in query:
        if name not in known:
            there = f"; there are {', '.join(known)}" if known else ""
            raise OpenAIError(f"Unknown parameter: '{name[:100]}'{there}.", name[:100], "unknown_parameter")


def _workload(query: Mapping[str, str]) -> Workload | None:
    """What the query says is to be paid for, None if it says nothing. Raises OpenAIError, WorkloadError."""
    values = {name: query[name] for name in FIELDS if name in query}
    by = query.get("by")
    if by is None:
        return read_workload(values) if values else None
    if by not in CRITERIA:
        raise OpenAIError(f"'by' is one of {', '.join(CRITERIA)}.", "by")
    if values:
        raise OpenAIError(f"'by' and '{next(iter(values))}' exclude each other.", "by")
    return CRITERIA[by]


def _day(query: Mapping[str, str], name: str) -> Day:
    try:
        return Day.fromisoformat(query[name])
    except ValueError:
        raise OpenAIError(f"'{name}' must be a day like 2026-07-01.", name) from None
