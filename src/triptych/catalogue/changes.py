"""What changed between two days: prices that are shown, statuses of routes, and what became known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date as Day
from typing import Literal

from .catalogue import Catalogue
from .errors import CatalogueError
from .facts import Observation, Route
from .rule import Shown
from .units import UNITS, Unit

Kind = Literal["new price", "price", "no longer priced", "status"]


@dataclass(frozen=True, slots=True)
class Change:
    """`before` and `after` are nano-dollars for prices, words for statuses, None for nothing; `source` is that of the
    later value.
    """

    kind: Kind
    route: Route
    unit: Unit | None
    before: int | str | None
    after: int | str | None
    source: str | None


def changes(catalogue: Catalogue, since: Day, until: Day) -> list[Change]:
    """Between the ends of two days, by route. Raises CatalogueError if they are in the wrong order."""
    if since > until:
        raise CatalogueError(f"since, {since}, is after until, {until}")
    return [change for route in catalogue.routes.values() for change in _of(catalogue, route, since, until)]


def _of(catalogue: Catalogue, route: Route, since: Day, until: Day) -> Iterator[Change]:
    later = catalogue.standing(route, until)
    earlier = catalogue.standing(route, since).status if _was_known(catalogue, route, since) else None
    # That a route is live is news only if it was something else.
    if later.status != (earlier or "live"):
        yield Change("status", route, None, earlier, later.status, later.claim.source if later.claim else None)
    before, after = catalogue.prices(route, since), catalogue.prices(route, until)
    for unit in UNITS:
        old, new = _number(before.get(unit)), _number(after.get(unit))
        if old == new:
            continue
        shown = after.get(unit)
        kind: Kind = "new price" if old is None else "no longer priced" if new is None else "price"
        yield Change(kind, route, unit, old, new, shown.observation.source if shown else None)


def _was_known(catalogue: Catalogue, route: Route, on: Day) -> bool:
    """Whether any source spoke of the route by this day."""
    names = {each.source for each in catalogue.claims.get(route.id, ())}
    names |= {each.source for each in catalogue.observations.get(route.id, ())}
    return any(catalogue.sources[name].known <= on for name in names)


def _number(shown: Shown | None) -> int | None:
    return shown.component.nano if shown else None


def observed(catalogue: Catalogue, since: Day, until: Day) -> list[Observation]:
    """Observations that became known after `since` and by `until`."""
    return [
        item
        for items in catalogue.observations.values()
        for item in items
        if since < catalogue.sources[item.source].known <= until
    ]
