"""What a workload costs on each route, with the arithmetic, and where it costs least.

Only live routes are compared whose prices cover the whole workload; the others are named with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date as Day
from fractions import Fraction

from .catalogue import Catalogue
from .facts import Component, Model, Observation, Route
from .money import rounded, usd
from .rule import Shown
from .units import UNITS, Unit
from .workload import Workload, assumptions, settled


@dataclass(frozen=True, slots=True)
class Line:
    """`quantity` things of a unit at `price` nano-dollars per `UNITS[unit].per`; `amount` is exact."""

    unit: Unit
    quantity: int
    price: int
    observation: Observation
    amount: Fraction

    @property
    def arithmetic(self) -> str:
        """As one writes it down."""
        kind = UNITS[self.unit]
        per = " / 1M" if kind.per > 1 else ""
        return f"{kind.count(self.quantity)} x ${usd(self.price)}{per} = ${usd(rounded(self.amount))}"


@dataclass(frozen=True, slots=True)
class Charge:
    """What a workload costs on a route: whole nano-dollars, rounded once."""

    route: Route
    lines: tuple[Line, ...]
    total: int
    exact: Fraction
    note: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    route: Route
    why: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """`charges` from the cheapest up; those of one price by the route's name."""

    model: Model
    workload: Workload
    on: Day
    assumptions: tuple[str, ...]
    charges: tuple[Charge, ...]
    left_out: tuple[LeftOut, ...]


class _CannotPriceError(Exception):
    """Why a route's prices do not cover a workload."""


def cheapest(catalogue: Catalogue, model: Model, workload: Workload, on: Day) -> Ranking:
    """All live routes of the model that can be priced, ranked. Raises WorkloadError for pictures it does not take."""
    workload = settled(workload, model)
    charges, left_out = [], []
    for route in catalogue.routes_of(model):
        found = charge(catalogue, route, workload, on)
        if isinstance(found, Charge):
            charges.append(found)
        else:
            left_out.append(found)
    charges.sort(key=lambda each: (each.exact, each.route.id))
    told = tuple(assumptions(workload, model))
    return Ranking(model, workload, on, told, tuple(charges), tuple(left_out))


def charge(catalogue: Catalogue, route: Route, workload: Workload, on: Day) -> Charge | LeftOut:
    """What a settled workload costs on one route."""
    standing = catalogue.standing(route, on)
    if not standing.live:
        since = f" since {standing.claim.since}" if standing.claim and standing.claim.since else ""
        return LeftOut(route, f"{standing.status}{since}")
    prices = catalogue.prices(route, on)
    if not any(shown.component.nano is not None for shown in prices.values()):
        return LeftOut(route, "no source gives a price" if prices else "no price is known")
    try:
        _fits(route, workload)
        lines, note = _Bill(route, prices, workload).lines()
    except _CannotPriceError as error:
        return LeftOut(route, str(error))
    exact = sum((line.amount for line in lines), Fraction())
    return Charge(route, tuple(lines), rounded(exact), exact, note)


def _fits(route: Route, workload: Workload) -> None:
    if not workload.captions or route.context is None or workload.image_tokens is None:
        return
    asked = workload.image_tokens + workload.prompt_tokens + workload.caption_tokens
    if asked > route.context:
        raise _CannotPriceError(f"a caption needs {asked:,} tokens; its context is {route.context:,}")


class _Bill:
    """The lines for one route. What it is paid for decides how captions and pictures are counted."""

    def __init__(self, route: Route, prices: Mapping[Unit, Shown], workload: Workload) -> None:
        self._route = route
        self._workload = workload
        self._shown = {unit: shown for unit, shown in prices.items() if shown.component.nano is not None}
        self._quantities: dict[Unit, int] = {}
        self._notes: list[str] = []

    def lines(self) -> tuple[list[Line], str]:
        """Raises _CannotPriceError."""
        work = self._workload
        by_caption = bool(work.captions) and "caption" in self._shown
        if by_caption:
            self._in_band(self._shown["caption"].component)
            self._add("caption", work.captions)
        captions = 0 if by_caption else work.captions
        if work.input or work.output or work.images or captions or (work.calls and not by_caption):
            if self._sells_tokens():
                self._by_token(captions)
            else:
                self._by_call(captions)
        return [self._line(unit, self._quantities[unit]) for unit in UNITS if unit in self._quantities], self._note()

    def _sells_tokens(self) -> bool:
        return "input" in self._shown or "output" in self._shown

    def _by_token(self, captions: int) -> None:
        work = self._workload
        pictures = work.images + captions
        if "image" in self._shown:
            self._add("image", pictures)
            pictures = 0
        if pictures and work.image_tokens is None:
            raise _CannotPriceError("paid per token, and how many tokens a picture is is not known")
        self._add("input", work.input + pictures * (work.image_tokens or 0) + captions * work.prompt_tokens)
        self._add("output", work.output + captions * work.caption_tokens)
        if not self._quantities:
            raise _CannotPriceError("paid per token, and the workload has none")

    def _by_call(self, captions: int) -> None:
        work = self._workload
        calls = work.calls + captions
        unit: Unit = "call" if "call" in self._shown else "gpu_second"
        if unit not in self._shown:
            kinds = ", ".join(UNITS[unit].label for unit in UNITS if unit in self._shown)
            raise _CannotPriceError(f"priced {kinds} only, and the workload has more than that")
        if not calls or (work.images and not work.calls):
            raise _CannotPriceError(f"paid {UNITS[unit].label}: state calls")
        if unit == "call":
            self._add("call", calls)
            return
        if self._route.call_seconds is None:
            raise _CannotPriceError("paid per GPU-second, and how long a call takes is not known")
        self._notes.append(f"a call takes about {self._route.call_seconds} s there")
        self._add("gpu_second", calls * self._route.call_seconds)

    def _in_band(self, component: Component) -> None:
        band, asked = component.band, self._workload.caption_tokens
        if band and not band.least <= asked <= band.most:
            raise _CannotPriceError(
                f"its only known tier is {band.least} to {band.most} output tokens a caption; the workload has {asked}"
            )

    def _add(self, unit: Unit, quantity: int) -> None:
        if not quantity:
            return
        if unit not in self._shown:
            raise _CannotPriceError(f"no price {UNITS[unit].label} is known")
        self._quantities[unit] = quantity

    def _line(self, unit: Unit, quantity: int) -> Line:
        shown = self._shown[unit]
        price = shown.component.nano
        assert price is not None
        return Line(unit, quantity, price, shown.observation, Fraction(price * quantity, UNITS[unit].per))

    def _note(self) -> str:
        return "; ".join(self._notes)
