"""The catalogue's answers for people, in tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from ..catalogue import answers as to
from .columns import show

# Units with a column of their own; others are written out in one.
_COLUMNS = {"input": "INPUT/1M", "output": "OUTPUT/1M"}


def models(answer: to.ModelsAnswer) -> None:
    rows = [
        [model.id, model.name, str(model.providers), str(model.priced), "here" if model.checkpoint else "-"]
        for model in answer.models
    ]
    show(["MODEL", "NAME", "PROVIDERS", "PRICED", "RUNS"], rows, ("PROVIDERS", "PRICED"))
    _freshness(answer.freshness)


def model(answer: to.ModelAnswer, everything: bool) -> None:
    summary = answer.model
    click.echo(f"{summary.name} ({summary.id}), {summary.family}: {summary.about}")
    known = f"{summary.providers} provider{'' if summary.providers == 1 else 's'}"
    click.echo(f"Known at {known}; of {summary.live} live routes, {summary.priced} are priced.\n")
    _routes(answer.routes, by_provider=True)
    if everything:
        _observations(answer.routes)
        _claims([*answer.claims, *(claim for route in answer.routes for claim in route.claims)])
        _sources(answer.sources)
    _marks(answer.routes)
    _freshness(answer.freshness)


def provider(answer: to.ProviderAnswer, everything: bool) -> None:
    summary = answer.provider
    click.echo(f"{summary.name} ({summary.id}){f', {summary.url}' if summary.url else ''}\n")
    _routes(answer.routes, by_provider=False)
    if everything:
        _observations(answer.routes)
        _claims([*answer.claims, *(claim for route in answer.routes for claim in route.claims)])
        _sources(answer.sources)
    _marks(answer.routes)
    _freshness(answer.freshness)


def ranking(answer: to.CheapestAnswer) -> None:
    rows = [
        [_where(each.provider_name, each.region), f"${each.total_usd}", _sum(each), str(each.oldest or "undated")]
        for each in answer.charges
    ]
    if rows:
        show(["PROVIDER", "TOTAL", "ARITHMETIC", "PRICES OF"], rows, ("TOTAL",))
    else:
        click.echo(f"no live route of {answer.model} has prices for this workload")
    click.echo(f"\nCompared: {answer.compared} live routes with prices for all of it. Assumed:")
    for assumption in answer.assumptions:
        click.echo(f"  {assumption}")
    if answer.left_out:
        click.echo("Left out:")
        for each in answer.left_out:
            click.echo(f"  {each.route} ({each.provider_name}): {each.why}")
    _freshness(answer.freshness)


def changes(answer: to.ChangesAnswer) -> None:
    click.echo(f"From {answer.since} to {answer.until}: {len(answer.changes)} changes")
    rows = [
        [each.route, f"{each.kind}{f' of {each.unit}' if each.unit and each.kind != 'status' else ''}",
         each.before or "-", each.after or "-", each.source or "-"]
        for each in answer.changes
    ]  # fmt: skip
    if rows:
        show(["ROUTE", "WHAT", "BEFORE", "AFTER", "SOURCE"], rows, ("BEFORE", "AFTER"))
    _freshness(answer.freshness)


# ---- parts ----------------------------------------------------------------------------------------------------------


def _routes(routes: Sequence[to.RouteAnswer], by_provider: bool) -> None:
    head = ["PROVIDER" if by_provider else "MODEL", "STATUS", *_COLUMNS.values(), "OTHER", "SOURCE", "DATE"]
    rows = []
    for route in routes:
        prices = {each.price.unit: each for each in route.prices}
        name = _where(route.provider_name, route.region or route.endpoint) if by_provider else route.model
        others = [_price(each, f" {each.price.label}") for unit, each in prices.items() if unit not in _COLUMNS]
        first = next(iter(prices.values()), None)
        priced = next((each for each in prices.values() if each.price.usd is not None), first)
        rows.append([
            name, _status(route), *(_price(prices.get(unit)) for unit in _COLUMNS), "; ".join(others) or "-",
            priced.source if priced else "-", str((priced.date if priced else None) or "undated"),
        ])  # fmt: skip
    show(head, rows, tuple(_COLUMNS.values()))


def _price(shown: to.PriceAnswer | None, label: str = "") -> str:
    if shown is None:
        return "-"
    price = shown.price
    if price.usd is None:
        return f"{price.state}{label}"
    band = f" ({price.band.least}-{price.band.most} output tokens)" if price.band else ""
    return f"${price.usd}{'*' if shown.contested else ''}{label}{band}"


def _status(route: to.RouteAnswer) -> str:
    since = f" since {route.status_since}" if route.status_since else ""
    return f"{route.status}{since}{f', ends {route.ends}' if route.ends else ''}"


def _where(name: str, detail: str) -> str:
    return f"{name} ({detail})" if detail else name


def _sum(charge: to.ChargeAnswer) -> str:
    parts = " + ".join(line.arithmetic.partition(" = ")[0] for line in charge.lines)
    return f"{parts}{f' ({charge.note})' if charge.note else ''}"


def _observations(routes: Iterable[to.RouteAnswer]) -> None:
    rows = []
    for route in routes:
        for each in route.observations:
            prices = ", ".join(
                f"{part.label} {'$' + part.usd if part.usd is not None else part.state}" for part in each.prices
            )
            when = " to ".join(str(day) for day in (each.date or "undated", each.last) if day)
            notes = "; ".join(note for note in (each.note, each.formula, _until(each)) if note)
            rows.append([route.id, prices, each.source, when, notes or "-"])
    if rows:
        click.echo("\nObservations")
        show(["ROUTE", "PRICES", "SOURCE", "DATE", "NOTE"], rows)


def _until(each: to.ObservationAnswer) -> str:
    return f"until {each.until}" if each.until else ""


def _claims(claims: Sequence[to.ClaimAnswer]) -> None:
    rows = []
    for claim in claims:
        value = ", ".join(claim.value) if isinstance(claim.value, list) else str(claim.value)
        told = claim.state if claim.value is None else value
        notes = [claim.about, claim.formula, f"printed: {claim.printed}" if claim.printed else None]
        notes += [f"doubt: {claim.doubt}" if claim.doubt else None]
        rows.append([f"{'>' if claim.shown else ' '} {claim.field}", " ".join(told.split()), claim.source,
                     "; ".join(filter(None, notes)) or "-"])  # fmt: skip
    if rows:
        click.echo("\nClaims (> is the one shown of a field)")
        show(["  FIELD", "VALUE", "SOURCE", "NOTE"], rows)


def _sources(sources: Sequence[to.SourceAnswer]) -> None:
    click.echo("\nSources")
    rows = [[each.id, each.publisher, each.title, str(each.date or "undated"), each.url or "-"] for each in sources]
    show(["SOURCE", "PUBLISHER", "TITLE", "DATE", "ADDRESS"], rows)


def _marks(routes: Iterable[to.RouteAnswer]) -> None:
    if any(price.contested for route in routes for price in route.prices):
        click.echo("\n* another source has another price; --all shows every one of them")


def _freshness(freshness: to.Freshness) -> None:
    if freshness.newest is None:
        click.echo("\nNo price has a date.")
        return
    stale = "; stale: `triptych prices refresh models.dev` reads a newer list" if freshness.stale else ""
    click.echo(f"\nNewest prices: {freshness.newest}, {freshness.age_days} days old{stale}.")
