"""What is charged for each model: by its own setting, as a provider of the catalogue, or as this machine costs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import date as Day
from pathlib import Path

from ...catalogue.catalogue import Catalogue
from ...catalogue.errors import CatalogueError
from ...catalogue.facts import Route
from ...catalogue.load import load, state, today
from ...catalogue.names import plain
from ...catalogue.rule import Shown
from ...catalogue.units import Unit
from ..backend import Backend
from .caller import DIALECTS
from .cost import Part, Price, PriceMode, part

log = logging.getLogger("triptych.server")

# Seconds between two looks for new records.
_LOOK_EVERY = 10.0
_MOST_KEPT = 4_096
# The dialects of one provider's API: whose offer counts there.
_PROVIDERS = {"replicate": "replicate", "runware": "runware"}
_FREE = Price(source="this server charges nothing")
# What a route sells the same thing by, the first that has a price: tokens, or else calls, or else time.
_TOKENS: tuple[Unit, ...] = ("input", "output", "cached_read", "image")
_OTHERWISE: tuple[Unit, ...] = ("call", "gpu_second", "gpu_hour")


class PriceBook:
    """The prices of a server. `own` are those of the settings, by the name of the served model; all others go by
    `mode`, with what is recorded in the folder `data`. New records are seen within seconds once it has been started.
    """

    def __init__(
        self, mode: PriceMode = "catalogue", own: Mapping[str, Price] | None = None, data: Path | None = None
    ) -> None:
        self._mode = mode
        self._own = dict(own or {})
        self._data = data
        self._page: _Page | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._mode != "free":
            await self.look()
            self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))

    def price(self, called: str, dialect: str, model: Backend) -> Price:
        """What is charged for `model` when it was called so in this dialect; "not priced" comes with the reason."""
        if (own := self._own.get(model.name)) is not None:
            return own
        if self._mode == "free":
            return _FREE
        if self._page is None:
            self._page = self._read(self._key())
        return self._page.price(self._mode, called, dialect, model)

    def guarded(self, model: Backend) -> bool:
        """Whether `model` has a price by whichever of its names it is called, in whichever API."""
        names = (model.name, *model.aliases)
        return all(self.price(name, dialect, model).priced for name in names for dialect in DIALECTS)

    async def look(self) -> None:
        """See what was recorded since the last look; what cannot be read leaves the prices as they are."""
        try:
            key = await asyncio.to_thread(self._key)
            if self._page is None or self._page.key != key:
                self._page = await asyncio.to_thread(self._read, key)
        except (CatalogueError, OSError) as error:
            log.error("prices stay as they were: %s", error)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await self.look()

    def _key(self) -> tuple[object, ...]:
        return today(), state(self._data)

    def _read(self, key: tuple[object, ...]) -> _Page:
        on = today()
        return _Page(load(self._data, on), on, key)


class _Page:
    """The prices of one state of the catalogue on one day, each looked up once."""

    def __init__(self, catalogue: Catalogue, on: Day, key: tuple[object, ...]) -> None:
        self.key = key
        self._catalogue = catalogue
        self._on = on
        self._found: dict[tuple[str, str, str], Price] = {}

    def price(self, mode: PriceMode, called: str, dialect: str, model: Backend) -> Price:
        asked = (called, dialect, model.name)
        found = self._found.get(asked)
        if found is None:
            found = self._machine(model) if mode == "machine" else self._listed(called, dialect)
            if len(self._found) < _MOST_KEPT:
                self._found[asked] = found
        return found

    def _listed(self, called: str, dialect: str) -> Price:
        """The offer of the route that the name means."""
        route = self._route(called, dialect)
        if route is None:
            at = f" of {self._catalogue.providers[_PROVIDERS[dialect]].name}" if dialect in _PROVIDERS else ""
            return Price(source=f"not priced: {called} is no name of one route{at} in the catalogue")
        shown = self._catalogue.prices(route, self._on)
        parts = offered(shown)
        if not parts:
            return Price(source=f"not priced: no source gives a price of {route.id}", route=route.id)
        standing = self._catalogue.standing(route, self._on)
        ended = "" if standing.live else f"; the route is {standing.status}"
        return self._price(route, parts, shown, ended)

    def _route(self, called: str, dialect: str) -> Route | None:
        """A dialect of one provider means that provider's route of the model, others the only one of that name. What
        this machine sells is not meant: measuring it changes no bill.
        """
        catalogue = self._catalogue
        if dialect in _PROVIDERS:
            model = catalogue.known_model(called)
            there = [] if model is None else catalogue.routes_of(model)
            found = next((route for route in there if route.provider == _PROVIDERS[dialect]), None)
        elif plain(called) in map(plain, catalogue.models):
            # A model's own name, which some provider may have as well.
            return None
        else:
            found = catalogue.routes.get(called) or catalogue.route_named(called)
        return None if found is None or catalogue.providers[found.provider].own else found

    def _machine(self, model: Backend) -> Price:
        """What the newest measurement of this machine says of the weights that run."""
        if model.upstream is not None:
            return Price(source=f"not priced: {model.name} does not run on this machine")
        known = self._catalogue.known_model(model.model)
        for route in [] if known is None else self._catalogue.routes_of(known):
            if not self._catalogue.providers[route.provider].own:
                continue
            shown = {
                unit: each for unit, each in self._catalogue.prices(route, self._on).items()
                if self._catalogue.sources[each.observation.source].kind == "measurement"
            }  # fmt: skip
            if parts := offered(shown):
                return self._price(route, parts, shown)
        return Price(source=f"not priced: `triptych cost` has measured nothing of {model.model} yet")

    def _price(self, route: Route, parts: Sequence[Part], shown: Mapping[Unit, Shown], ended: str = "") -> Price:
        catalogue = self._catalogue
        names = dict.fromkeys(shown[each.unit].observation.source for each in parts)
        sources = [catalogue.sources[name] for name in names]
        told = " and ".join(f"{each.publisher}, {each.title}" for each in sources)
        name = catalogue.providers[route.provider].name
        return Price(tuple(parts), f"{name}, by {told}{ended}", route.id, min(each.known for each in sources))


def offered(shown: Mapping[Unit, Shown]) -> tuple[Part, ...]:
    """What of a route's prices is charged together: a caption's, and those of tokens if input and output both have one;
    where there is neither, a call's, or else that of time.
    """
    priced: dict[Unit, Part] = {}
    for unit in (*_TOKENS, "caption", *_OTHERWISE):
        found = shown.get(unit)
        if found is not None and found.component.nano is not None:
            priced[unit] = part(unit, found.component.nano, found.component.band)
    tokens = _TOKENS if "input" in priced and "output" in priced else ()
    together = tuple(priced[unit] for unit in (*tokens, "caption") if unit in priced)
    return together or tuple(priced[unit] for unit in _OTHERWISE if unit in priced)[:1]
