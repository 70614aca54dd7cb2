"""A price list becomes observations in the data folder, beside those in the package. Nothing is written over.

If the list cannot be had or believed nothing is recorded, and what was known before stays as it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date as Day
from pathlib import Path

import msgspec

from . import download
from .catalogue import Catalogue
from .errors import CatalogueError, RefreshError
from .facts import Route
from .files import read_text
from .lists import Entry, Form, PriceList, read_list
from .load import load, record_folder
from .names import plain
from .records import write_record
from .rows import ClaimRow, DataFile, PriceRow, ProviderRow, RouteRow, SourceRow

_PUBLISHERS: dict[Form, tuple[str, str]] = {
    "models.dev": ("models.dev", "Model database"),
    "litellm": ("BerriAI", "LiteLLM, model cost map"),
}


@dataclass(frozen=True, slots=True)
class Refreshed:
    """`record` is None if the same was recorded before. `routes` are those that were not known before."""

    form: Form
    record: Path | None
    prices: int
    routes: tuple[str, ...]
    others: int
    passed_over: tuple[str, ...]
    before: Day | None


def refresh(place: str, data: Path, on: Day, dated: Day | None = None) -> Refreshed:
    """Record what the list at `place` (an address, a file, or a name of `download.KNOWN`) says; `dated` is the day the
    list is of, today (`on`) if it is not given. Raises RefreshError, which says what was kept.
    """
    catalogue = load(data, on)
    before = catalogue.newest()
    try:
        if dated is not None and dated > on:
            raise RefreshError(f"its day, {dated}, is in the future")
        content = download.read(place)
        found = read_list(content, catalogue)
        if not found.entries:
            why = f" ({'; '.join(found.passed_over[:2])})" if found.passed_over else ""
            raise RefreshError(f"none of its {found.others:,} entries is about a model of the catalogue{why}")
        contents = _Record(catalogue, found, place, content, dated or on, on).contents()
        record = _written(contents, catalogue, data, on)
    except CatalogueError as error:
        kept = f"the prices of {before} ({(on - before).days} days old) are kept" if before else "nothing was recorded"
        raise RefreshError(f"{place}: {error}; {kept}") from None
    new = tuple(route.id for route in contents.routes if route.id not in catalogue.routes)
    priced = sum(1 for price in contents.prices if price.input != "not sourced")
    return Refreshed(found.form, record, priced, new, found.others, found.passed_over, before)


def _written(contents: DataFile, catalogue: Catalogue, data: Path, on: Day) -> Path | None:
    """Write the record, once it is clear that the next load will take it. None if the list is recorded already."""
    [source] = contents.sources
    if source.id in catalogue.sources:
        return None
    text = msgspec.json.encode(contents).decode()
    load(data, on, [read_text(record_folder(data) / "new.json", text, on)])
    return write_record(data, source.date or on, source.id.partition("-")[0].replace(".", "-"), contents)


class _Record:
    """Makes the rows of a record out of a list's entries."""

    def __init__(
        self, catalogue: Catalogue, found: PriceList, place: str, content: bytes, dated: Day, seen: Day
    ) -> None:
        self._catalogue = catalogue
        self._found = found
        publisher, title = _PUBLISHERS[found.form]
        address = download.KNOWN.get(place, place)
        url = address if address.startswith(("http://", "https://")) else None
        digest = hashlib.sha256(content).hexdigest()[:12]
        id = f"{found.form}-{dated}-{digest}"
        self._source = SourceRow(
            id=id, publisher=publisher, title=title, kind="list", date=dated, seen=seen, url=url and url[:2000]
        )
        self._providers: dict[str, ProviderRow] = {}
        self._routes: dict[str, RouteRow] = {}

    def contents(self) -> DataFile:
        prices: list[PriceRow] = []
        claims: list[ClaimRow] = []
        for entry in self._found.entries:
            route = self._route(entry)
            price = _price(route, self._source.id, entry)
            # One list has several names for one thing: the same price for the same route is said once.
            if price not in prices:
                prices.append(price)
            claims += [claim for claim in self._claims(route, entry) if claim not in claims]
        return DataFile(
            sources=[self._source], providers=list(self._providers.values()), routes=list(self._routes.values()),
            prices=prices, claims=claims,
        )  # fmt: skip

    def _claims(self, route: str, entry: Entry) -> list[ClaimRow]:
        rows = [
            ClaimRow(on=route, field=field, value=value, source=self._source.id)
            for field, value in entry.claims.items()
        ]
        if entry.ends is not None:
            rows.append(
                ClaimRow(on=route, field="status", value="deprecated", since=entry.ends, source=self._source.id)
            )
        return rows

    def _route(self, entry: Entry) -> str:
        """The id of the entry's route, which is new if the catalogue has none for it."""
        provider = self._catalogue.listed_provider(entry.provider)
        id = provider.id if provider else plain(entry.provider)
        known = [route for route in self._catalogue.routes.values() if route.model == entry.model]
        if found := _matching(known, id, entry):
            return found.id
        route = f"{id}/{entry.model}" + (f":{entry.region}" if entry.region else "")
        if provider is None and id not in self._catalogue.providers:
            self._providers.setdefault(id, _provider_row(id, entry))
        row = RouteRow(id=route, model=entry.model, provider=id, region=entry.region, names=(entry.key,))
        self._routes.setdefault(route, row)
        return route


def _price(route: str, source: str, entry: Entry) -> PriceRow:
    if not entry.prices:
        note = "listed without a price"
        return PriceRow(route=route, source=source, input="not sourced", output="not sourced", note=note)
    row = PriceRow(route=route, source=source)
    for unit, text in entry.prices.items():
        setattr(row, unit, text)
    return row


def _matching(known: list[Route], provider: str, entry: Entry) -> Route | None:
    """The route that an entry is about: of this provider and region, by its name there if there are several."""
    there = [route for route in known if route.provider == provider and route.region in (entry.region, "us")]
    there = [route for route in there if route.region == entry.region] or ([] if entry.region else there)
    named = [route for route in there if any(_called(name, entry.key) for name in route.names)]
    return next(iter(named or there), None)


def _called(name: str, key: str) -> bool:
    return plain(key) == plain(name) or plain(key).endswith("-" + plain(name))


def _provider_row(id: str, entry: Entry) -> ProviderRow:
    return ProviderRow(id=id, name=entry.provider_name, lists=(entry.provider.lower(),))

