"""The catalogue's answers, as JSON has them: for the server's API and for `--json` of the commands.

Money is in whole nano-dollars beside the decimal text of dollars; dates are ISO.
"""

from __future__ import annotations

from datetime import date as Day
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

Usd = Annotated[str, Meta(description="US dollars, as decimal text.")]
Nano = Annotated[int, Meta(description="Whole nano-dollars.")]


class SourceAnswer(msgspec.Struct):
    id: str
    publisher: str
    title: str
    kind: Annotated[str, Meta(description="page, catalogue, list, card, provider or measurement.")]
    date: Annotated[Day | None, Meta(description="The one it bears, null if it bears none.")]
    seen: Annotated[Day, Meta(description="When it was read.")]
    age_days: Annotated[int | None, Meta(description="Since its date.")]
    url: str | None
    refreshed: Annotated[str | None, Meta(description="How often it says it is renewed.")]
    note: str | None


class ClaimAnswer(msgspec.Struct):
    """What one source says of one field."""

    field: str
    value: str | int | bool | list[str] | None
    state: Annotated[str, Meta(description="sourced, derived, not sourced or not applicable.")]
    source: str
    shown: Annotated[bool, Meta(description="Whether the rule chooses it among the claims on this field.")]
    of: Annotated[str, Meta(description="What it is said of: model, family, provider or route.")]
    formula: str | None
    about: Annotated[str | None, Meta(description="What exactly it is about.")]
    since: Day | None
    printed: Annotated[str | None, Meta(description="How it stands there, if otherwise.")]
    doubt: Annotated[str | None, Meta(description="Why it may be wrong.")]


class BandAnswer(msgspec.Struct):
    of: str
    least: int
    most: int


class ComponentAnswer(msgspec.Struct):
    """A price for one unit. `usd` and `nano_usd` are null where the state says so."""

    unit: str
    per: Annotated[int, Meta(description="How many things one price is for.")]
    label: str
    usd: Usd | None
    nano_usd: Nano | None
    state: str
    band: BandAnswer | None


class PriceAnswer(msgspec.Struct):
    """The shown price for a unit."""

    price: ComponentAnswer
    source: str
    date: Day | None
    others: Annotated[int, Meta(description="Other observations of this price.")]
    contested: Annotated[bool, Meta(description="Whether one of those is another number.")]


class ObservationAnswer(msgspec.Struct):
    """What one source says of a route's prices."""

    source: str
    date: Day | None
    last: Annotated[Day | None, Meta(description="When a list that is read again and again last said the same.")]
    prices: list[ComponentAnswer]
    since: Day | None
    until: Day | None
    formula: str | None
    note: str | None


class FieldAnswer(msgspec.Struct):
    """A parameter, or a field of an answer, of a provider's own API."""

    of: str
    name: str
    type: str
    required: bool
    default: str | None
    values: str | None
    meaning: str
    source: str


class ExampleAnswer(msgspec.Struct):
    title: str
    label: str
    task: str
    image: str
    asks: str
    words: int
    cost_usd: Usd
    sources: list[str]


class RouteAnswer(msgspec.Struct):
    """A model at a provider."""

    id: str
    model: str
    provider: str
    provider_name: str
    own: Annotated[bool, Meta(description="Whether it is this machine.")]
    endpoint: str
    region: str
    names: Annotated[list[str], Meta(description="What the model is called there.")]
    context: int | None
    status: Annotated[str, Meta(description="live, announced, deprecated or retired.")]
    status_state: Annotated[str, Meta(description="sourced, or derived where no source speaks of it.")]
    status_formula: str | None
    status_since: Day | None
    ends: Annotated[Day | None, Meta(description="When a later status is announced to begin.")]
    priced: Annotated[bool, Meta(description="Whether some price is known.")]
    stale: Annotated[bool, Meta(description="Whether the newest shown price is over a week old, or undated.")]
    prices: list[PriceAnswer]
    observations: list[ObservationAnswer]
    claims: list[ClaimAnswer]
    fields: list[FieldAnswer]
    examples: list[ExampleAnswer]


class FailedRefresh(msgspec.Struct, frozen=True):
    """A price list that could not be read when it was last tried; what was known before is kept."""

    list: Annotated[str, Meta(description="Its short name or address.")]
    at: datetime
    why: str


class Freshness(msgspec.Struct):
    """How old prices are. `stale` is over a week."""

    on: Day
    newest: Day | None
    age_days: int | None
    stale: bool
    problems: Annotated[list[str], Meta(description="Records in the data folder that could not be used.")]
    failed: Annotated[list[FailedRefresh], Meta(description="Lists that the server could not read when it last tried.")]


class ModelSummary(msgspec.Struct):
    id: str
    name: str
    family: str
    names: list[str]
    checkpoint: Annotated[str | None, Meta(description="The hub id of weights that run here.")]
    takes_pictures: bool
    about: str
    providers: Annotated[int, Meta(description="Computed from the routes: providers but this machine.")]
    live: Annotated[int, Meta(description="Live routes, this machine's included.")]
    priced: Annotated[int, Meta(description="Live routes with a price.")]
    served: Annotated[list[str], Meta(description="Names under which this server serves it.")] = []


class ModelsAnswer(msgspec.Struct):
    models: list[ModelSummary]
    rule: str
    freshness: Freshness


class ModelAnswer(msgspec.Struct):
    """A model with everything that is said of it."""

    model: ModelSummary
    best_for: list[str]
    not_for: list[str]
    related: list[str]
    image_tokens: int | None
    image_formula: str | None
    claims: list[ClaimAnswer]
    routes: list[RouteAnswer]
    sources: list[SourceAnswer]
    rule: str
    freshness: Freshness


class ProviderSummary(msgspec.Struct):
    id: str
    name: str
    names: list[str]
    url: str | None
    own: bool
    models: list[str]
    routes: int
    live: int


class ProvidersAnswer(msgspec.Struct):
    providers: list[ProviderSummary]
    freshness: Freshness


class ProviderAnswer(msgspec.Struct):
    provider: ProviderSummary
    claims: list[ClaimAnswer]
    routes: list[RouteAnswer]
    sources: list[SourceAnswer]
    rule: str
    freshness: Freshness


class WorkloadAnswer(msgspec.Struct):
    input: int
    output: int
    images: int
    captions: int
    calls: int
    prompt_tokens: int
    caption_tokens: int
    image_tokens: int | None


class LineAnswer(msgspec.Struct):
    unit: str
    quantity: int
    usd: Usd
    nano_usd: Annotated[int, Meta(description="The unit's price.")]
    amount_usd: Usd
    arithmetic: str
    source: str


class ChargeAnswer(msgspec.Struct):
    route: str
    provider: str
    provider_name: str
    region: str
    own: bool
    total_usd: Usd
    total_nano_usd: Nano
    lines: list[LineAnswer]
    note: str
    oldest: Annotated[Day | None, Meta(description="The oldest date of the prices used; null if one is undated.")]


class LeftOutAnswer(msgspec.Struct):
    route: str
    provider_name: str
    why: str


class CheapestAnswer(msgspec.Struct):
    """What a workload costs on every live priced route, the cheapest first."""

    model: str
    workload: WorkloadAnswer
    assumptions: list[str]
    compared: int
    charges: list[ChargeAnswer]
    left_out: list[LeftOutAnswer]
    sources: list[SourceAnswer]
    rule: str
    freshness: Freshness


class ComparedModel(msgspec.Struct):
    """One model beside others: what is shown of it, its routes, and the workload's cost if it can do it."""

    model: ModelSummary
    claims: list[ClaimAnswer]
    routes: list[RouteAnswer]
    cheapest: list[ChargeAnswer]
    cannot: Annotated[str | None, Meta(description="Why the workload cannot be priced for it.")]


class CompareAnswer(msgspec.Struct):
    workload: WorkloadAnswer | None
    models: list[ComparedModel]
    sources: list[SourceAnswer]
    rule: str
    freshness: Freshness


class ChangeAnswer(msgspec.Struct):
    """`before` and `after` are dollars as text for prices, words for statuses."""

    kind: Annotated[str, Meta(description="new price, price, no longer priced or status.")]
    route: str
    model: str
    provider_name: str
    unit: str | None
    before: str | None
    after: str | None
    source: str | None


class ObservedAnswer(msgspec.Struct):
    route: str
    observation: ObservationAnswer


class ChangesAnswer(msgspec.Struct):
    since: Day
    until: Day
    changes: list[ChangeAnswer]
    observed: Annotated[list[ObservedAnswer], Meta(description="What became known in this time.")]
    sources: list[SourceAnswer]
    freshness: Freshness
