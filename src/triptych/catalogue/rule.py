"""Which of several sources is shown, and what a route's status is on a day. One rule for everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Day

from .facts import Claim, Component, Observation, Source, SourceKind, State, Status
from .units import UNITS, Unit

RULE = (
    "Shown is what the newest dated source says; of several of one date, what the one nearest to the provider says; "
    "then the higher price, so that nothing looks cheaper than a source has it. A value that carries a doubt, an "
    "undated source and a price without a number give way to others. Nothing is removed: the rest stands beside it."
)

# From the furthest from the provider to the nearest.
_NEARNESS: dict[SourceKind, int] = {
    "page": 0, "catalogue": 1, "list": 2, "card": 3, "provider": 4, "measurement": 5,
}  # fmt: skip
_NUMBERS: tuple[State, ...] = ("sourced", "derived")

Sources = Mapping[str, Source]


@dataclass(frozen=True, slots=True)
class Shown:
    """The component that is shown for a unit, whose observation it is, and the others that give a number for it;
    `contested` says that one of those is another number.
    """

    component: Component
    observation: Observation
    others: int
    contested: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """The status of a route on a day, and by which claim; without one it is derived from the prices that are listed.
    `ends` is the first day of a later status that is announced.
    """

    status: Status
    claim: Claim | None
    ends: Claim | None = None

    @property
    def live(self) -> bool:
        return self.status == "live"


LISTED = "sources list the route and none says that it ended"


def known(items: Iterable[Observation], sources: Sources, on: Day) -> list[Observation]:
    """Observations that could be known on a day and held then."""
    return [
        item
        for item in items
        if sources[item.source].known <= on
        and (item.since is None or item.since <= on)
        and (item.until is None or on <= item.until)
    ]


def shown_prices(items: Iterable[Observation], sources: Sources, on: Day) -> dict[Unit, Shown]:
    """By unit, in the order of `UNITS`."""
    held = known(items, sources, on)
    found: dict[Unit, Shown] = {}
    for unit in UNITS:
        said = [(part, item) for item in held for part in item.components if part.unit == unit]
        if not said:
            continue
        part, item = max(said, key=lambda pair: _price_weight(pair[0], pair[1], sources, on))
        numbers = [other.nano for other, _ in said if other.nano is not None]
        found[unit] = Shown(part, item, max(0, len(numbers) - 1), len(set(numbers)) > 1)
    return found


def _price_weight(part: Component, item: Observation, sources: Sources, on: Day) -> tuple[bool, Day, int, str, int]:
    source = sources[item.source]
    last = min(item.last, on) if item.last else source.date
    # Measurements have their moment in their ids: of two on one day the later counts.
    moment = source.id if source.kind == "measurement" else ""
    return part.state in _NUMBERS, last or Day.min, _NEARNESS[source.kind], moment, part.nano or 0


def shown_claim(claims: Sequence[Claim], sources: Sources, on: Day) -> Claim | None:
    """Of claims on one field of one thing, the one that is shown; None if none was known on the day."""
    held = [claim for claim in claims if sources[claim.source].known <= on]

    def weight(claim: Claim) -> tuple[int, bool, Day, int]:
        source = sources[claim.source]
        told = 2 if claim.state in _NUMBERS else 1 if claim.state == "not applicable" else 0
        return told, claim.doubt is None, source.date or Day.min, _NEARNESS[source.kind]

    return max(held, key=weight, default=None)


def standing(claims: Iterable[Claim], sources: Sources, on: Day) -> Standing:
    """The status of a route from the claims on it. One that began by `on` beats those without a day."""
    told = [claim for claim in claims if claim.field == "status" and sources[claim.source].known <= on]
    begun = [claim for claim in told if claim.since is not None and claim.since <= on]
    later = min((c for c in told if c.since is not None and c.since > on), key=_since, default=None)
    claim = max(begun, key=_since, default=None) or shown_claim([c for c in told if c.since is None], sources, on)
    if claim is None:
        return Standing("live", None, later)
    status: Status = claim.value  # type: ignore[assignment]  # checked when it was read
    return Standing(status, claim, later)


def _since(claim: Claim) -> Day:
    return claim.since or Day.min
