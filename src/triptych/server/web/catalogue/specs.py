"""What is said of a thing, field by field: what is shown, and everything that stands beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ....catalogue.answers import ClaimAnswer
from .words import LABELS, MARKET, ROUTE_LABELS, label, said


@dataclass(frozen=True, slots=True)
class Spec:
    """One field. `others` are the claims that are not shown; `contested` says that one of them is another value."""

    field: str
    label: str
    shown: ClaimAnswer
    others: tuple[ClaimAnswer, ...]
    contested: bool


def model_specs(claims: Sequence[ClaimAnswer]) -> list[Spec]:
    """What is said of a model and its family, in the order of `LABELS`; then the fields it does not know."""
    return _specs((claim for claim in claims if claim.field not in MARKET), LABELS)


def market_specs(claims: Sequence[ClaimAnswer]) -> list[Spec]:
    """What pages say of the market for a model."""
    return _specs((claim for claim in claims if claim.field in MARKET), MARKET)


def route_specs(claims: Sequence[ClaimAnswer]) -> list[Spec]:
    """What is said of a route but what to look out for, which `gotchas` has."""
    return _specs((claim for claim in claims if not claim.field.startswith("gotcha.")), ROUTE_LABELS)


def gotchas(claims: Sequence[ClaimAnswer]) -> list[ClaimAnswer]:
    """What to look out for: what sources say of it, and recipes that are known not to work as they stand."""
    warned = [claim for claim in claims if claim.field.startswith("gotcha.") and claim.shown]
    return warned + [claim for claim in claims if claim.field.startswith(("recipe.", "api.")) and claim.doubt]


def _specs(claims: Iterable[ClaimAnswer], order: Mapping[str, str]) -> list[Spec]:
    places = {field: place for place, field in enumerate(order)}

    def key(claim: ClaimAnswer) -> tuple[int, str, str]:
        return places.get(claim.field, len(places)), claim.field, claim.of

    return [_spec(list(group)) for _, group in groupby(sorted(claims, key=key), key=key)]


def _spec(claims: list[ClaimAnswer]) -> Spec:
    shown = next((claim for claim in claims if claim.shown), claims[0])
    others = tuple(claim for claim in claims if claim is not shown)
    contested = any(each.value is not None and _plain(each) != _plain(shown) for each in others)
    name = label(shown.field)
    return Spec(shown.field, f"{name} (family)" if shown.of == "family" else name, shown, others, contested)


def _plain(claim: ClaimAnswer) -> str:
    """What it says, for comparison: a hyphen is no other opinion."""
    return "".join(letter for letter in said(claim).lower() if letter.isalnum())
