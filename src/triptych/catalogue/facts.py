"""What the catalogue knows, in records: sources, models, providers, routes, and what each source says of them.

A route is a model at a provider. A claim is what one source says of one field; an observation is what one source says
of a route's prices. Sources that contradict each other are all kept; `rule` says which one is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date as Day
from typing import Literal

from .units import Unit

# "not sourced" is what a source says of a price it has a place for and no number: neither zero nor none.
State = Literal["sourced", "derived", "not sourced", "not applicable"]
Status = Literal["live", "announced", "deprecated", "retired"]
# From the furthest from the provider to the nearest.
SourceKind = Literal["page", "catalogue", "list", "card", "provider", "measurement"]
Value = str | int | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A page, a list or a measurement. `date` is the one it bears, None if it bears none; `seen` is when it was read.
    `refreshed` is how often it says it is renewed.
    """

    id: str
    publisher: str
    title: str
    kind: SourceKind
    seen: Day
    date: Day | None = None
    url: str | None = None
    refreshed: str | None = None
    note: str | None = None

    @property
    def known(self) -> Day:
        """From when on the catalogue could know what it says."""
        return self.date or self.seen


@dataclass(frozen=True, slots=True)
class Family:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Model:
    """`checkpoint` is the hub id of weights that run here. One picture is up to `image_tokens` input tokens, which
    `image_formula` explains; a model that `sees` without them takes pictures of a size nobody told. The texts are ours.
    """

    id: str
    name: str
    family: str
    names: tuple[str, ...] = ()
    checkpoint: str | None = None
    image_tokens: int | None = None
    image_formula: str | None = None
    sees: bool = False
    about: str = ""
    best_for: tuple[str, ...] = ()
    not_for: tuple[str, ...] = ()
    related: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provider:
    """`lists` are the names it has in price lists. `own` is this machine."""

    id: str
    name: str
    names: tuple[str, ...] = ()
    url: str | None = None
    lists: tuple[str, ...] = ()
    own: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """`names` are what the model is called there; `call_seconds` is how long one call takes where time is paid."""

    id: str
    model: str
    provider: str
    endpoint: str = ""
    region: str = ""
    names: tuple[str, ...] = ()
    context: int | None = None
    call_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a source says of `field` of a model, family, provider or route, whose id is `on`. `about` narrows what it is
    about, `since` is from when on it holds, `printed` how it stands there if not as `value`; `doubt` says why it may be
    wrong.
    """

    on: str
    field: str
    value: Value | None
    source: str
    state: State = "sourced"
    formula: str | None = None
    about: str | None = None
    since: Day | None = None
    printed: str | None = None
    doubt: str | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """A price that holds only for this many `of` something, both ends included."""

    of: Literal["output_tokens"]
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Component:
    """`nano` is nano-dollars per `UNITS[unit].per` things, None if the state is "not sourced" or "not applicable"."""

    unit: Unit
    nano: int | None
    state: State = "sourced"
    band: Band | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What one source says a route costs, from `since` to `until` if it says so; `last` is when a list that is read
    again and again last said the same.
    """

    route: str
    source: str
    components: tuple[Component, ...]
    since: Day | None = None
    until: Day | None = None
    formula: str | None = None
    note: str | None = None
    last: Day | None = None


@dataclass(frozen=True, slots=True)
class ApiField:
    """A parameter or a field of an answer of a route's own API; `of` says which."""

    route: str
    of: Literal["request", "response"]
    name: str
    type: str
    required: bool
    source: str
    meaning: str
    default: str | None = None
    values: str | None = None


@dataclass(frozen=True, slots=True)
class ApiExample:
    """A request and an answer that a page shows: the prompt in our words, and the cost in nano-dollars."""

    route: str
    title: str
    label: str
    task: str
    image: str
    asks: str
    words: int
    cost: int
    sources: tuple[str, ...]
