"""Answers made of the catalogue: one function for each question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date as Day
from itertools import groupby
from typing import Any

from . import answers as to
from .catalogue import Catalogue
from .changes import changes, observed
from .cheapest import Charge, LeftOut, Line, cheapest
from .errors import WorkloadError
from .facts import Claim, Component, Model, Observation, Provider, Route
from .money import rounded, usd
from .rule import LISTED, RULE, Shown, shown_claim
from .units import UNITS
from .workload import Workload, takes_pictures

# Prices older than this are stale, in days.
WEEK = 7


class Views:
    """What is answered on the day `on`. `served` are the names under which a server serves a model, by model, `failed`
    the price lists that it could not read.
    """

    def __init__(
        self, catalogue: Catalogue, on: Day, served: Mapping[str, list[str]] | None = None,
        failed: Sequence[to.FailedRefresh] = (),
    ) -> None:
        self._catalogue = catalogue
        self._on = on
        self._served = served or {}
        self._failed = failed
        self._routes: dict[str, to.RouteAnswer] = {}
        self._summaries: dict[str, to.ModelSummary] = {}
        self._freshness: to.Freshness | None = None

    # ---- questions --------------------------------------------------------------------------------------------------

    def models(self) -> to.ModelsAnswer:
        models = [self.summary(model) for model in self._catalogue.models.values()]
        return to.ModelsAnswer(models, RULE, self.freshness())

    def model(self, model: Model) -> to.ModelAnswer:
        claims = self._model_claims(model)
        routes = [self.route(route) for route in self._catalogue.routes_of(model)]
        return to.ModelAnswer(
            self.summary(model), list(model.best_for), list(model.not_for), list(model.related), model.image_tokens,
            model.image_formula, claims, routes, self._sources(claims, routes), RULE, self.freshness(),
        )  # fmt: skip

    def providers(self) -> to.ProvidersAnswer:
        found = [self._provider_summary(provider) for provider in self._catalogue.providers.values()]
        return to.ProvidersAnswer(found, self.freshness())

    def provider(self, provider: Provider) -> to.ProviderAnswer:
        claims = self._claims(f"provider/{provider.id}", "provider")
        routes = [self.route(route) for route in self._catalogue.routes_at(provider)]
        sources = self._sources(claims, routes)
        return to.ProviderAnswer(self._provider_summary(provider), claims, routes, sources, RULE, self.freshness())

    def cheapest(self, model: Model, workload: Workload) -> to.CheapestAnswer:
        """Raises WorkloadError for pictures that the model does not take."""
        found = cheapest(self._catalogue, model, workload, self._on)
        charges = [self.charge(each) for each in found.charges]
        return to.CheapestAnswer(
            model.id, _workload(found.workload), list(found.assumptions), len(charges), charges,
            [self._left_out(each) for each in found.left_out],
            self._named({line.source for each in charges for line in each.lines}), RULE, self.freshness(),
        )  # fmt: skip

    def compare(self, models: Sequence[Model], workload: Workload | None) -> to.CompareAnswer:
        compared = [self._compared(model, workload) for model in models]
        claims = [claim for each in compared for claim in each.claims]
        routes = [route for each in compared for route in each.routes]
        told = None if workload is None else _workload(workload)
        return to.CompareAnswer(told, compared, self._sources(claims, routes), RULE, self.freshness())

    def changes(self, since: Day, until: Day) -> to.ChangesAnswer:
        """Raises CatalogueError if the days are in the wrong order."""
        found = changes(self._catalogue, since, until)
        seen = observed(self._catalogue, since, until)
        told = [
            to.ChangeAnswer(
                each.kind, each.route.id, each.route.model, self._provider_name(each.route), each.unit,
                _word(each.before), _word(each.after), each.source,
            )
            for each in found
        ]  # fmt: skip
        names = {each.source for each in found if each.source} | {each.source for each in seen}
        told_seen = [to.ObservedAnswer(each.route, self._observation(each)) for each in seen]
        return to.ChangesAnswer(since, until, told, told_seen, self._named(names), self.freshness())

    def freshness(self) -> to.Freshness:
        if self._freshness is None:
            newest = self._catalogue.newest()
            age = None if newest is None else (self._on - newest).days
            stale = age is None or age > WEEK
            problems, failed = list(self._catalogue.problems), list(self._failed)
            self._freshness = to.Freshness(self._on, newest, age, stale, problems, failed)
        return self._freshness

    # ---- parts ------------------------------------------------------------------------------------------------------

    def summary(self, model: Model) -> to.ModelSummary:
        if model.id not in self._summaries:
            self._summaries[model.id] = self._summary(model)
        return self._summaries[model.id]

    def _summary(self, model: Model) -> to.ModelSummary:
        routes = self._catalogue.routes_of(model)
        live = [route for route in routes if self._catalogue.standing(route, self._on).live]
        elsewhere = {route.provider for route in routes if not self._catalogue.providers[route.provider].own}
        return to.ModelSummary(
            model.id, model.name, self._catalogue.families[model.family].name, list(model.names), model.checkpoint,
            takes_pictures(model), model.about, len(elsewhere), len(live), sum(map(self._priced, live)),
            self._served.get(model.id, []),
        )  # fmt: skip

    def route(self, route: Route) -> to.RouteAnswer:
        if route.id not in self._routes:
            self._routes[route.id] = self._route(route)
        return self._routes[route.id]

    def _route(self, route: Route) -> to.RouteAnswer:
        standing = self._catalogue.standing(route, self._on)
        shown = self._catalogue.prices(route, self._on)
        provider = self._catalogue.providers[route.provider]
        claim = standing.claim
        return to.RouteAnswer(
            id=route.id, model=route.model, provider=route.provider, provider_name=provider.name, own=provider.own,
            endpoint=route.endpoint, region=route.region, names=list(route.names), context=route.context,
            status=standing.status, status_state=claim.state if claim else "derived",
            status_formula=None if claim else LISTED, status_since=claim.since if claim else None,
            ends=standing.ends.since if standing.ends else None,
            priced=self._priced(route), stale=self._stale(shown.values()),
            prices=[self._price(each) for each in shown.values()],
            observations=[self._observation(each) for each in self._catalogue.observations.get(route.id, ())],
            claims=self._claims(route.id, "route"),
            fields=[_field(each) for each in self._catalogue.fields.get(route.id, ())],
            examples=[_example(each) for each in self._catalogue.examples.get(route.id, ())],
        )  # fmt: skip

    def charge(self, charge: Charge) -> to.ChargeAnswer:
        days = [self._date(line.observation) for line in charge.lines]
        known = [day for day in days if day is not None]
        provider = self._catalogue.providers[charge.route.provider]
        return to.ChargeAnswer(
            charge.route.id, provider.id, provider.name, charge.route.region, provider.own, usd(charge.total),
            charge.total, [_line(line) for line in charge.lines], charge.note,
            min(known, default=None) if len(known) == len(days) else None,
        )  # fmt: skip

    def _compared(self, model: Model, workload: Workload | None) -> to.ComparedModel:
        charges: list[to.ChargeAnswer] = []
        cannot = None
        if workload is not None:
            try:
                found = cheapest(self._catalogue, model, workload, self._on)
                charges = [self.charge(each) for each in found.charges]
            except WorkloadError as error:
                cannot = str(error)
        claims = [claim for claim in self._model_claims(model) if claim.shown]
        routes = [self.route(route) for route in self._catalogue.routes_of(model)]
        return to.ComparedModel(self.summary(model), claims, routes, charges, cannot)

    def _model_claims(self, model: Model) -> list[to.ClaimAnswer]:
        return self._claims(model.id, "model") + self._claims(f"family/{model.family}", "family")

    def _claims(self, on: str, of: str) -> list[to.ClaimAnswer]:
        claims = sorted(self._catalogue.claims.get(on, ()), key=lambda claim: claim.field)
        found = []
        for _, group in groupby(claims, key=lambda claim: claim.field):
            together = list(group)
            chosen = shown_claim(together, self._catalogue.sources, self._on)
            found += [_claim(claim, of, claim is chosen) for claim in together]
        return found

    def _left_out(self, left_out: LeftOut) -> to.LeftOutAnswer:
        return to.LeftOutAnswer(left_out.route.id, self._provider_name(left_out.route), left_out.why)

    def _price(self, shown: Shown) -> to.PriceAnswer:
        observation = shown.observation
        part = _component(shown.component)
        return to.PriceAnswer(part, observation.source, self._date(observation), shown.others, shown.contested)

    def _observation(self, each: Observation) -> to.ObservationAnswer:
        return to.ObservationAnswer(
            each.source, self._catalogue.sources[each.source].date, each.last,
            [_component(part) for part in each.components], each.since, each.until, each.formula, each.note,
        )  # fmt: skip

    def _provider_summary(self, provider: Provider) -> to.ProviderSummary:
        routes = self._catalogue.routes_at(provider)
        live = sum(self._catalogue.standing(route, self._on).live for route in routes)
        models = list(dict.fromkeys(route.model for route in routes))
        return to.ProviderSummary(
            provider.id, provider.name, list(provider.names), provider.url, provider.own, models, len(routes), live
        )

    def _provider_name(self, route: Route) -> str:
        return self._catalogue.providers[route.provider].name

    def _priced(self, route: Route) -> bool:
        prices = self._catalogue.prices(route, self._on)
        return any(shown.component.nano is not None for shown in prices.values())

    def _stale(self, shown: Iterable[Shown]) -> bool:
        days = [self._date(each.observation) for each in shown if each.component.nano is not None]
        newest = max((day for day in days if day is not None), default=None)
        return bool(days) and (newest is None or (self._on - newest).days > WEEK)

    def _date(self, observation: Observation) -> Day | None:
        return observation.last or self._catalogue.sources[observation.source].date

    def _sources(
        self, claims: Iterable[to.ClaimAnswer], routes: Iterable[to.RouteAnswer]
    ) -> list[to.SourceAnswer]:
        """Those that the claims and routes name."""
        names = {claim.source for claim in claims}
        for route in routes:
            names |= {each.source for each in route.observations} | {each.source for each in route.claims}
            names |= {each.source for each in route.fields}
            names |= {source for example in route.examples for source in example.sources}
        return self._named(names)

    def _named(self, names: set[str]) -> list[to.SourceAnswer]:
        return [
            to.SourceAnswer(
                source.id, source.publisher, source.title, source.kind, source.date, source.seen,
                None if source.date is None else (self._on - source.date).days,
                source.url, source.refreshed, source.note,
            )
            for source in self._catalogue.sources.values()
            if source.id in names
        ]  # fmt: skip


def _claim(claim: Claim, of: str, shown: bool) -> to.ClaimAnswer:
    value = list(claim.value) if isinstance(claim.value, tuple) else claim.value
    return to.ClaimAnswer(
        claim.field, value, claim.state, claim.source, shown, of, claim.formula, claim.about, claim.since,
        claim.printed, claim.doubt,
    )  # fmt: skip


def _component(part: Component) -> to.ComponentAnswer:
    kind = UNITS[part.unit]
    band = to.BandAnswer(part.band.of, part.band.least, part.band.most) if part.band else None
    text = None if part.nano is None else usd(part.nano)
    return to.ComponentAnswer(part.unit, kind.per, kind.label, text, part.nano, part.state, band)


def _line(line: Line) -> to.LineAnswer:
    amount = usd(rounded(line.amount))
    source = line.observation.source
    return to.LineAnswer(line.unit, line.quantity, usd(line.price), line.price, amount, line.arithmetic, source)


def _field(each: Any) -> to.FieldAnswer:
    return to.FieldAnswer(
        each.of, each.name, each.type, each.required, each.default, each.values, each.meaning, each.source
    )


def _example(each: Any) -> to.ExampleAnswer:
    return to.ExampleAnswer(
        each.title, each.label, each.task, each.image, each.asks, each.words, usd(each.cost), list(each.sources)
    )


def _workload(workload: Workload) -> to.WorkloadAnswer:
    return to.WorkloadAnswer(**asdict(workload))


def _word(value: int | str | None) -> str | None:
    return usd(value) if isinstance(value, int) else value
