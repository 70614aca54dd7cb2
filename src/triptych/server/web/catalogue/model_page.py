"""One model with everything that is known of it, and how it is called here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

from markupsafe import Markup

from ....catalogue.answers import ClaimAnswer, RouteAnswer
from ....catalogue.facts import Model
from ....catalogue.workload import default_workload, takes_pictures
from ...backend import Backend
from ...catalogue import Snapshot
from ..curl import colored
from ..pages import slug
from ..recipes import Recipe, recipes_for
from .examples import examples
from .faq import questions
from .hardware import hardware
from .sources import Sources
from .specs import Spec, gotchas, market_specs, model_specs, route_specs
from .words import price_of

_UNITS_IN_TABLE = ("input", "output")
# The boxes that every route has, whether its sources fill them or not.
_BOXES = (("input", "Input / 1M"), ("output", "Output / 1M"), ("cached_read", "Cache read / 1M"),
          ("batch_input", "Batch input / 1M"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServedAs:
    """A name under which it runs here, and how it is."""

    name: str
    aliases: tuple[str, ...]
    state: str
    note: str


def model_page(snapshot: Snapshot, model: Model, backends: Sequence[Backend]) -> dict[str, Any]:
    """What the template shows."""
    answer = snapshot.views.model(model)
    workload = default_workload(model)
    least = snapshot.views.cheapest(model, workload)
    words = "a thousand captions" if takes_pictures(model) else "a million tokens, three in for one out,"
    related = [snapshot.views.summary(snapshot.catalogue.models[id]) for id in model.related]
    served = [_served(each) for each in backends if each.name in answer.model.served]
    return {
        "answer": answer,
        "model": answer.model,
        "specs": model_specs(answer.claims),
        "market": market_specs(answer.claims),
        "routes": sorted(answer.routes, key=_rank),
        "least": least,
        "gotchas": [(route, claim) for route in answer.routes for claim in gotchas(route.claims)],
        "examples": [(route, examples(route)) for route in answer.routes if route.examples],
        "parameters": [route for route in answer.routes if route.fields],
        "questions": questions(answer, least, words),
        "related": related,
        "served": served,
        "hardware": hardware(model.checkpoint) if model.checkpoint else None,
        "needs_download": model.checkpoint is not None and not model.checkpoint.startswith("triptych/"),
        "sources": Sources([*answer.sources, *least.sources]),
        "boxes": boxes,
        "others": other_prices,
        "route_specs": route_specs,
        "opened": max((route for route in answer.routes if not route.own), key=_told, default=answer.routes[0]).id,
        "headline": headline(answer.claims),
    }


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do in a dialect, as code in some languages, each with the same in colours."""

    id: str
    dialect: str
    title: str
    recipes: tuple[tuple[Recipe, Markup], ...]


@lru_cache(maxsize=64)
def tasks(served: ServedAs, sees: bool, base: str, key: bool) -> tuple[Task, ...]:
    """Recipes for a model that runs here, together by what they do; `base` and `key` as for `recipes_for`."""
    found = recipes_for((served.name, *served.aliases), sees, base, key)
    return tuple(
        Task(f"{dialect}-{slug(title)}", dialect, title, tuple((each, colored(each.code)) for each in group))
        for (dialect, title), group in groupby(found, key=lambda each: (each.dialect, each.title))
    )


def boxes(route: RouteAnswer) -> list[tuple[str, Any]]:
    """(label, price or None) of the boxes that every route has, then of what else it charges for."""
    usual = [(label, price_of(route, unit)) for unit, label in _BOXES]
    known = {unit for unit, _ in _BOXES}
    return usual + [(each.price.label, each) for each in route.prices if each.price.unit not in known]


def other_prices(route: RouteAnswer) -> list[Any]:
    """Prices for which the table has no column of their own, if they have a number."""
    return [each for each in route.prices if each.price.unit not in _UNITS_IN_TABLE and each.price.usd is not None]


def headline(claims: Sequence[ClaimAnswer]) -> list[Spec]:
    """The few specifications that stand at the top, if a source speaks of them."""
    of_model = {spec.field: spec for spec in model_specs(claims) if spec.shown.of == "model"}
    size = "parameters_total" if "parameters_total" in of_model else "parameters"
    return [of_model[field] for field in ("released", size, "context") if field in of_model]


def _told(route: RouteAnswer) -> int:
    """How much is said of a route."""
    return len(route.claims) + len(route.prices)


def _rank(route: RouteAnswer) -> tuple[bool, bool, bool, str]:
    """Live and priced ones first; this machine before all."""
    return not route.own, route.status != "live", not route.priced, route.provider_name.lower()


def _served(backend: Backend) -> ServedAs:
    return ServedAs(backend.name, backend.aliases, backend.state, backend.note)
