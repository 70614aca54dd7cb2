"""Routes of the catalogue's pages, under /app."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date as Day
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

from starlette.routing import BaseRoute

from ....catalogue.errors import CatalogueError
from ....catalogue.units import UNITS
from ...catalogue import Shelf, Snapshot
from ...endpoint import Doors, Handler
from ...exchange import Answer, Exchange
from ...operations import Operation, Parameter, Reply
from ...origin import origin
from ...service import Service
from ..page_routes import PREFIX, page_route
from ..pages import shown
from . import comparison, words
from .listing import Filters, cards
from .model_page import boxes, model_page, other_prices, tasks
from .sources import Sources
from .specs import route_specs

_HTML = "text/html"
# How far back "what changed" looks if nothing is said, in days.
_LOOK_BACK = 90

Show = Callable[[Service, Exchange, Snapshot], Answer]


def routes(doors: Doors, shelf: Shelf) -> list[BaseRoute]:
    """The catalogue of `shelf`, as the JSON under /catalogue has it."""
    table: list[tuple[str, Show]] = [
        ("/models", _models),
        ("/models/{name:path}", _model),
        ("/providers", _providers),
        ("/providers/{name}", _provider),
        ("/compare", _compare),
        ("/changes", _changes),
    ]
    return [page_route(doors, PREFIX + path, _handler(shelf, show)) for path, show in table]


def _handler(shelf: Shelf, show: Show) -> Handler:
    async def handle(service: Service, exchange: Exchange, body: Any) -> Answer:
        return show(service, exchange, await shelf.snapshot(service))

    return handle


def _page(exchange: Exchange, snapshot: Snapshot, template: str, section: str, **values: Any) -> Answer:
    freshness = snapshot.views.freshness()
    return shown(exchange, f"catalogue/{template}", section=section, freshness=freshness, words=words, **values)


def _models(service: Service, exchange: Exchange, snapshot: Snapshot) -> Answer:
    filters = Filters.of(exchange.query)
    found = cards(snapshot, filters, snapshot.views.freshness().on)
    catalogue = snapshot.catalogue
    return _page(
        exchange, snapshot, "models.html", "models", filters=filters, cards=found, total=len(catalogue.models),
        families=list(catalogue.families.values()), providers=len(catalogue.providers), routes=len(catalogue.routes),
        sources=len(catalogue.sources),
    )  # fmt: skip


def _model(service: Service, exchange: Exchange, snapshot: Snapshot) -> Answer:
    model = snapshot.catalogue.model(exchange.scope["path_params"]["name"])
    values = model_page(snapshot, model, service.router.models)
    base = origin(exchange.scope, exchange.headers)
    served = values["served"][:1]
    asks = service.accounts.keyring.asks
    recipes = [task for each in served for task in tasks(each, values["model"].takes_pictures, base, asks)]
    return _page(exchange, snapshot, "model.html", "models", recipes=recipes, **values)


def _providers(service: Service, exchange: Exchange, snapshot: Snapshot) -> Answer:
    found = sorted(snapshot.views.providers().providers, key=lambda each: (not each.own, -each.live, each.name.lower()))
    return _page(exchange, snapshot, "providers.html", "models", providers=found)


def _provider(service: Service, exchange: Exchange, snapshot: Snapshot) -> Answer:
    answer = snapshot.views.provider(snapshot.catalogue.provider(exchange.scope["path_params"]["name"]))
    return _page(
        exchange, snapshot, "provider.html", "models", answer=answer, provider=answer.provider,
        specs=route_specs(answer.claims), models=snapshot.catalogue.models, boxes=boxes, others=other_prices,
        route_specs=route_specs, sources=Sources(answer.sources),
    )  # fmt: skip


def _compare(service: Service, exchange: Exchange, snapshot: Snapshot) -> Answer:
    query = parse_qs(exchange.scope["query_string"].decode("latin-1"), max_num_fields=100)
    asking = comparison.asked(snapshot, query)
    priced = comparison.priced(snapshot, asking)
    ranking = comparison.ranking(priced)
    beside = snapshot.views.compare(asking.models, None)
    named = [source for each in priced if each.answer for source in each.answer.sources]
    chosen = asking.models if query.get("model") else ()
    return _page(
        exchange, snapshot, "compare.html", "compare", asking=asking, priced=priced, ranking=ranking,
        left_out=comparison.left_out(priced), chart=comparison.chart(ranking, len(asking.models) > 1),
        beside=beside, labels=comparison.LABELS, all_models=comparison.choice(snapshot),
        presets=[(name, about, comparison.preset_address(fields, chosen))
                 for name, about, fields in comparison.PRESETS],
        sources=Sources([*beside.sources, *named]),
    )  # fmt: skip


def _changes(service: Service, exchange: Exchange, snapshot: Snapshot) -> Answer:
    on, error = snapshot.views.freshness().on, ""
    since = on - timedelta(days=_LOOK_BACK)
    text = exchange.query.get("since", "").strip()[:10]
    try:
        since = Day.fromisoformat(text) if text else since
        answer = snapshot.views.changes(since, on)
    except (ValueError, CatalogueError):
        error = f"Not a day up to {on}, such as {since}."
        answer = snapshot.views.changes(on - timedelta(days=_LOOK_BACK), on)
    return _page(
        exchange, snapshot, "changes.html", "models", answer=answer, text=text, error=error,
        routes=snapshot.catalogue.routes, models=snapshot.catalogue.models, providers=snapshot.catalogue.providers,
        sources=Sources(answer.sources), units=UNITS,
    )  # fmt: skip


def _operation(path: str, summary: str, description: str, *parameters: Parameter, missing: bool = False) -> Operation:
    there = Reply(200, "The page.", {_HTML: str})
    absent = Reply(404, "The catalogue has none of this name.", {_HTML: str})
    replies = (there, absent) if missing else (there,)
    return Operation("GET", PREFIX + path, summary, description, replies, parameters)


_MODEL = Parameter("name", "Any name people use for the model.", "path", example="mixtral-8x7b")
_PROVIDER = Parameter("name", "A provider's id or name.", "path", example="replicate")

OPERATIONS = (
    _operation("/models", "Look through the models", "Every model of the catalogue, searched and filtered.",
               Parameter("q", "Words that a model's names or description have."),
               Parameter("family", "A family's id.", example="mixtral"),
               Parameter("sees", "1: models that take pictures."),
               Parameter("runs", "1: models with weights that run here."),
               Parameter("served", "1: models that answer here now.")),
    _operation("/models/{name:path}", "Read about a model",
               "Specifications, providers and prices with their sources, how it is called here or what would run it.",
               _MODEL, missing=True),
    _operation("/providers", "Look through the providers", "Every provider, this machine among them."),
    _operation("/providers/{name}", "Read about a provider", "All its routes with their prices.", _PROVIDER,
               missing=True),
    _operation("/compare", "Compare costs", "What a workload costs on every route of some models, with the arithmetic.",
               Parameter("model", "A model; may be given several times.", example="llava-1.6-mistral-7b"),
               Parameter("captions", "As for `/catalogue/cheapest`, and so are the other parts of a workload.",
                         example="1000")),
    _operation("/changes", "Read what changed", "Prices and statuses that changed since a day.",
               Parameter("since", "A day; 90 days ago if not given.", example="2026-05-01")),
)  # fmt: skip
