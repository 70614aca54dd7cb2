"""The forms of the data files: TOML in the package, JSON in the data folder, the same tables in both.

Every file may hold any of the tables. Prices are decimal text, or "not sourced" or "not applicable".
"""

from __future__ import annotations

from datetime import date as Day
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .facts import SourceKind, State

Id = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._:/@-]*$", max_length=200)]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Count = Annotated[int, Meta(ge=1, le=10**9)]


class Row(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A row of a table."""


class SourceRow(Row):
    id: Id
    publisher: Text
    title: Text
    kind: SourceKind
    seen: Day
    date: Day | None = None
    url: Annotated[str, Meta(pattern=r"^https?://", max_length=2000)] | None = None
    refreshed: Text | None = None
    note: Text | None = None


class FamilyRow(Row):
    id: Id
    name: Text


class ModelRow(Row):
    id: Id
    name: Text
    family: Id
    names: tuple[Text, ...] = ()
    checkpoint: Text | None = None
    image_tokens: Count | None = None
    image_formula: Text | None = None
    sees: bool = False
    about: str = ""
    best_for: tuple[Text, ...] = ()
    not_for: tuple[Text, ...] = ()
    related: tuple[Id, ...] = ()


class ProviderRow(Row):
    id: Id
    name: Text
    names: tuple[Text, ...] = ()
    url: Annotated[str, Meta(pattern=r"^https?://", max_length=2000)] | None = None
    lists: tuple[Text, ...] = ()
    own: bool = False


class RouteRow(Row):
    id: Id
    model: Id
    provider: Id
    endpoint: str = ""
    region: str = ""
    names: tuple[Text, ...] = ()
    context: Count | None = None
    call_seconds: Count | None = None


class ClaimRow(Row):
    on: Id
    field: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.]*$")]
    source: Id
    # Text, a whole number, a truth value, a date, or a list of texts: checked where it is read.
    value: Any = None
    state: State = "sourced"
    formula: Text | None = None
    about: Text | None = None
    since: Day | None = None
    printed: str | None = None
    doubt: Text | None = None


class BandRow(Row):
    of: Literal["output_tokens"]
    least: Annotated[int, Meta(ge=0, le=10**9)]
    most: Count


class PriceRow(Row):
    """`band` is for the caption's price."""

    route: Id
    source: Id
    input: str | None = None
    output: str | None = None
    cached_read: str | None = None
    cached_write: str | None = None
    batch_input: str | None = None
    batch_output: str | None = None
    image: str | None = None
    caption: str | None = None
    call: str | None = None
    gpu_second: str | None = None
    gpu_hour: str | None = None
    band: BandRow | None = None
    since: Day | None = None
    until: Day | None = None
    formula: Text | None = None
    note: Text | None = None


class ApiFieldRow(Row):
    route: Id
    of: Literal["request", "response"]
    name: Text
    type: Text
    required: bool
    source: Id
    meaning: Text
    default: Text | None = None
    values: Text | None = None


class ApiExampleRow(Row):
    route: Id
    title: Text
    label: Text
    task: Text
    image: Text
    asks: Text
    words: Count
    cost: str
    sources: tuple[Id, ...]


class DataFile(Row):
    sources: list[SourceRow] = []
    families: list[FamilyRow] = []
    models: list[ModelRow] = []
    providers: list[ProviderRow] = []
    routes: list[RouteRow] = []
    claims: list[ClaimRow] = []
    prices: list[PriceRow] = []
    fields: list[ApiFieldRow] = []
    examples: list[ApiExampleRow] = []
