"""The catalogue: all that the data files say, by model, provider and route, under every name people use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date as Day
from functools import lru_cache
from types import MappingProxyType
from typing import Any, get_args

from .errors import DataError, UnknownNameError
from .facts import ApiExample, ApiField, Claim, Family, Model, Observation, Provider, Route, Source, Status
from .files import Contents
from .names import plain, spellings
from .rule import Shown, Standing, shown_prices, standing
from .units import Unit

_STATUSES = get_args(Status)
_MOST_KEPT = 1_024


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything, read only. `problems` says which files of the data folder could not be used, and why."""

    sources: Mapping[str, Source]
    families: Mapping[str, Family]
    models: Mapping[str, Model]
    providers: Mapping[str, Provider]
    routes: Mapping[str, Route]
    claims: Mapping[str, Sequence[Claim]]
    observations: Mapping[str, Sequence[Observation]]
    fields: Mapping[str, Sequence[ApiField]]
    examples: Mapping[str, Sequence[ApiExample]]
    problems: tuple[str, ...] = ()
    _model_names: Mapping[str, str] = field(default_factory=dict)
    _provider_names: Mapping[str, str] = field(default_factory=dict)
    # What is computed again and again for a route on a day.
    _prices: Callable[[str, Day], Mapping[Unit, Shown]] = field(init=False, repr=False)
    _standings: Callable[[str, Day], Standing] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        def prices(route: str, on: Day) -> Mapping[Unit, Shown]:
            return MappingProxyType(shown_prices(self.observations.get(route, ()), self.sources, on))

        def standings(route: str, on: Day) -> Standing:
            return standing(self.claims.get(route, ()), self.sources, on)

        object.__setattr__(self, "_prices", lru_cache(_MOST_KEPT)(prices))
        object.__setattr__(self, "_standings", lru_cache(_MOST_KEPT)(standings))

    def model(self, name: str) -> Model:
        """The model of this name, hub id, alias or id at a provider. Raises UnknownNameError with suggestions."""
        found = self.known_model(name)
        if found is None:
            raise UnknownNameError("model", name, self.models, (model.name for model in self.models.values()))
        return found

    def known_model(self, name: str) -> Model | None:
        """As `model`, None if there is none."""
        ids = (self._model_names.get(form) for form in spellings(name))
        return next((self.models[id] for id in ids if id is not None), None)

    def provider(self, name: str) -> Provider:
        """Raises UnknownNameError with suggestions."""
        id = self._provider_names.get(plain(name))
        if id is None:
            raise UnknownNameError("provider", name, self.providers, (each.name for each in self.providers.values()))
        return self.providers[id]

    def listed_provider(self, name: str) -> Provider | None:
        """The provider that a price list calls `name`."""
        key = name.lower()
        return next((each for each in self.providers.values() if key == each.id or key in each.lists), None)

    def routes_of(self, model: Model) -> list[Route]:
        return [route for route in self.routes.values() if route.model == model.id]

    def routes_at(self, provider: Provider) -> list[Route]:
        return [route for route in self.routes.values() if route.provider == provider.id]

    def route_named(self, name: str) -> Route | None:
        """The route that callers mean by a name that one provider alone has for a model, such as `runware:150@2`."""
        form = plain(name)
        named = [route for route in self.routes.values() if form in map(plain, route.names)]
        return named[0] if len(named) == 1 else None

    def prices(self, route: Route, on: Day) -> Mapping[Unit, Shown]:
        """The route's offer on a day: what is shown for each unit."""
        return self._prices(route.id, on)

    def standing(self, route: Route, on: Day) -> Standing:
        return self._standings(route.id, on)

    def newest(self) -> Day | None:
        """The date of the newest price list or page that names a price; measurements of this machine apart."""
        dates = [
            observation.last or self.sources[observation.source].date
            for observations in self.observations.values()
            for observation in observations
            if self.sources[observation.source].kind != "measurement"
        ]
        return max((day for day in dates if day is not None), default=None)


class Gathering:
    """Puts files together. `add` takes a file whole or, if something in it is wrong, not at all."""

    def __init__(self) -> None:
        self._things: dict[str, dict[str, Any]] = {
            name: {} for name in ("sources", "families", "models", "providers", "routes")
        }
        self._rows: list[tuple[Contents, str, int, Any]] = []
        self.problems: list[str] = []

    def add_package(self, files: Iterable[Contents]) -> None:
        """Files that refer to each other. Raises DataError."""
        together = list(files)
        for contents in together:
            self._take_things(contents, again=False)
        for contents in together:
            self._check(contents)
            self._take_rows(contents)

    def add(self, contents: Contents) -> None:
        """A file of the data folder; what it says of a provider or route that is there already is passed over. Raises
        DataError.
        """
        before = {name: dict(things) for name, things in self._things.items()}
        try:
            self._take_things(contents, again=True)
            self._check(contents)
        except DataError:
            self._things = before
            raise
        self._take_rows(contents)

    def _take_things(self, contents: Contents, again: bool) -> None:
        for table, things in self._things.items():
            for index, thing in enumerate(getattr(contents, table)):
                if thing.id not in things:
                    things[thing.id] = thing
                elif not again or table == "sources":
                    raise contents.place.error(table, index, "id", f"{thing.id} is there already")

    def _check(self, contents: Contents) -> None:
        for table, index, key, kind, id in _references(contents):
            if id not in self._things[kind]:
                one = "family" if kind == "families" else kind.removesuffix("s")
                why = UnknownNameError(one, id, self._things[kind])
                raise contents.place.error(table, index, key, str(why))
        for index, claim in enumerate(contents.claims):
            if not self._is_thing(claim.on):
                known = [*self._things["routes"], *self._things["models"]]
                raise contents.place.error("claims", index, "on", str(UnknownNameError("thing", claim.on, known)))
            if claim.field == "status" and claim.value not in _STATUSES:
                raise contents.place.error("claims", index, "value", f"a status is one of {', '.join(_STATUSES)}")

    def _is_thing(self, id: str) -> bool:
        kind, _, name = id.partition("/")
        if kind in ("family", "provider"):
            return name in self._things["families" if kind == "family" else "providers"]
        return id in self._things["models"] or id in self._things["routes"]

    def _take_rows(self, contents: Contents) -> None:
        for table in ("claims", "prices", "fields", "examples"):
            self._rows += [(contents, table, index, row) for index, row in enumerate(getattr(contents, table))]

    def catalogue(self) -> Catalogue:
        """Raises DataError for a name that two models or two providers have."""
        by: dict[str, defaultdict[str, list[Any]]] = {
            table: defaultdict(list) for table in ("claims", "prices", "fields", "examples")
        }
        for _, table, _, row in self._rows:
            by[table][row.on if table == "claims" else row.route].append(row)
        sources = self._things["sources"]
        observations = {route: merged(found, sources) for route, found in by["prices"].items()}
        return Catalogue(
            **{name: MappingProxyType(things) for name, things in self._things.items()},
            claims=_frozen(by["claims"]),
            observations=_frozen(observations),
            fields=_frozen(by["fields"]),
            examples=_frozen(by["examples"]),
            problems=tuple(self.problems),
            _model_names=self._model_names(),
            _provider_names=_names("provider", self._things["providers"].values()),
        )

    def _model_names(self) -> dict[str, str]:
        own = _names("model", self._things["models"].values())
        # What a provider calls it is a name too, unless it is a name of another model.
        for route in self._things["routes"].values():
            for name in (route.id, *route.names):
                own.setdefault(plain(name), route.model)
        return own


def _references(contents: Contents) -> Iterable[tuple[str, int, str, str, str]]:
    """(table, index, key, kind of what is referred to, its id)."""
    for index, model in enumerate(contents.models):
        yield "models", index, "family", "families", model.family
        yield from (("models", index, "related", "models", id) for id in model.related)
    for index, route in enumerate(contents.routes):
        yield "routes", index, "model", "models", route.model
        yield "routes", index, "provider", "providers", route.provider
    for index, claim in enumerate(contents.claims):
        yield "claims", index, "source", "sources", claim.source
    for index, price in enumerate(contents.prices):
        yield "prices", index, "source", "sources", price.source
        yield "prices", index, "route", "routes", price.route
    for index, each in enumerate(contents.fields):
        yield "fields", index, "source", "sources", each.source
        yield "fields", index, "route", "routes", each.route
    for index, example in enumerate(contents.examples):
        yield "examples", index, "route", "routes", example.route
        yield from (("examples", index, "sources", "sources", id) for id in example.sources)


def merged(observations: Sequence[Observation], sources: Mapping[str, Source]) -> list[Observation]:
    """What a list says of a route again and again unchanged is said once, and lasts until it was last said."""
    by_source: defaultdict[str, list[Observation]] = defaultdict(list)
    for each in observations:
        by_source[each.source].append(each)
    kept: dict[str, list[Observation]] = {}
    newest: dict[str, str] = {}  # by publisher, the source of what it said last
    for id in sorted(by_source, key=lambda id: sources[id].known):
        source, said = sources[id], by_source[id]
        before = newest.get(source.publisher)
        if before and source.kind in ("list", "measurement") and _unsigned(kept[before]) == _unsigned(said):
            kept[before] = [replace(each, last=source.known) for each in kept[before]]
            continue
        kept[id] = said
        newest[source.publisher] = id
    return [each for said in kept.values() for each in said]


def _unsigned(observations: Sequence[Observation]) -> list[Observation]:
    return [replace(each, source="", last=None) for each in observations]


def _names(kind: str, things: Iterable[Model] | Iterable[Provider]) -> dict[str, str]:
    """Ids by plain name."""
    found: dict[str, str] = {}
    for thing in things:
        for name in (thing.id, thing.name, *thing.names):
            if found.setdefault(plain(name), thing.id) != thing.id:
                raise DataError(f"{kind}s {found[plain(name)]} and {thing.id} are both called {name}")
    return found


def _frozen(by: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
    return MappingProxyType({key: tuple(found) for key, found in by.items()})
