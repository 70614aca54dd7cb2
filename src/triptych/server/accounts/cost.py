"""What was used times what it costs: a bill in whole nano-dollars, exact, rounded once.

Everything is an integer or a fraction; a float never takes part. A price is stored with what it was applied to, so that
any bill can be computed again after prices have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date as Day
from fractions import Fraction
from functools import lru_cache
from math import lcm
from operator import attrgetter
from typing import Literal

import msgspec

from ...catalogue.facts import Band
from ...catalogue.money import NANO, rounded, usd
from ...catalogue.units import UNITS, Unit

__all__ = [
    "PER", "Band", "Line", "Part", "Price", "PriceMode", "Quantities", "cost", "from_json", "lines", "part", "to_json",
    "total", "usd", "usd_float", "worst",
]  # fmt: skip

# Where prices come from: a provider's offer in the catalogue, what this machine costs, or nowhere.
PriceMode = Literal["catalogue", "machine", "free"]
_SECOND_US = 1_000_000
# How many of what is counted one price is for. Time is counted in microseconds; what a caller cannot use has no count.
PER: dict[Unit, int] = {
    "input": UNITS["input"].per, "output": UNITS["output"].per, "cached_read": UNITS["cached_read"].per,
    "image": 1, "caption": 1, "call": 1, "gpu_second": _SECOND_US, "gpu_hour": 3600 * _SECOND_US,
}  # fmt: skip
_TIMES: tuple[Unit, ...] = ("gpu_second", "gpu_hour")
# Further than any answer reaches, in tokens.
_ENDLESS = 1 << 62


class Quantities(msgspec.Struct, frozen=True):
    """What was used. `prompt_tokens` includes those from the cache and those of images, as the engine counts;
    `captions` are those of the `calls` that ask for one; `seconds_us` is the engine's time in microseconds. Raises
    ValueError for what is no whole number of at least 0.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    image_tokens: int = 0
    completion_tokens: int = 0
    images: int = 0
    captions: int = 0
    calls: int = 0
    seconds_us: int = 0

    def __post_init__(self) -> None:
        values = _values(self)
        if {*map(type, values)} != {int} or min(values) < 0:
            name, value = next((name, value) for name, value in zip(_NAMES, values, strict=True)
                               if type(value) is not int or value < 0)  # fmt: skip
            raise ValueError(f"{name} must be a whole number of at least 0, not {value!r}")

    def __add__(self, other: Quantities) -> Quantities:
        return Quantities(*map(sum, zip(_values(self), _values(other), strict=True)))


_NAMES = Quantities.__struct_fields__
_values = attrgetter(*_NAMES)


class Part(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """`nano` nano-dollars for `per` of what is counted of a unit (time: of microseconds). A caption's price may have a
    `band` of output tokens. Raises ValueError for a unit that is not counted and for numbers out of range.
    """

    unit: Unit
    nano: int
    per: int
    band: Band | None = None

    def __post_init__(self) -> None:
        if self.unit not in PER:
            raise ValueError(f"nothing is counted of {self.unit}")
        if self.nano < 0 or self.per < 1:
            raise ValueError(f"a price is at least 0 for at least one, not {self.nano} for {self.per}")
        if self.band is not None and self.unit != "caption":
            raise ValueError("only a caption's price has a band")


class Price(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is charged, by unit; without components nothing is, and the thing is called "not priced". `source` says in
    words where the price is from, `route` whose offer it is, `seen` the day that its source bears or was read. `most`
    nano-dollars are paid, whatever was used. Raises ValueError for a unit that is there twice, but for captions in
    bands.
    """

    components: tuple[Part, ...] = ()
    source: str = ""
    route: str | None = None
    seen: Day | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        once = [(each.unit, each.band) for each in self.components]
        if len(set(once)) < len(once):
            raise ValueError("a unit is there twice")

    @property
    def priced(self) -> bool:
        return bool(self.components)


@dataclass(frozen=True, slots=True)
class Line:
    """`quantity` of what is counted of a unit at `nano` nano-dollars for `per` of them."""

    unit: Unit
    quantity: int
    nano: int
    per: int

    @property
    def exact(self) -> Fraction:
        """Nano-dollars."""
        return Fraction(self.nano * self.quantity, self.per)

    @property
    def arithmetic(self) -> str:
        """As one writes it down; the amount is rounded to a nano-dollar, which the total is not until its end."""
        kind = UNITS[self.unit]
        quantity, per = kind.count(self.quantity), " / 1M" if kind.per > 1 else ""
        if self.unit in _TIMES:
            quantity = f"{usd(self.quantity * 1000)} s"  # nanoseconds have the decimals that nano-dollars have
            per = f" / {self.per // _SECOND_US:,} s"
        return f"{quantity} x ${usd(self.nano)}{per} = ${usd(rounded(self.exact))}"


def part(unit: Unit, nano: int, band: Band | None = None) -> Part:
    """The component of a price of `nano` nano-dollars as the catalogue counts it: for a million tokens, an image, a
    second, an hour.
    """
    if unit not in PER:
        raise ValueError(f"nothing is counted of {unit}")
    return Part(unit, nano, PER[unit], band)


def lines(price: Price, used: Quantities) -> tuple[Line, ...]:
    """The bill, a line for each component that was used.

    A token is paid once: as read from the cache if that has a price and it was, not at all if its image is paid by the
    image, else as input. A caption that is paid by the caption costs that alone, with all its tokens; where nothing but
    captions has a price, every call is one. Of captions with bands the first band counts that reaches as far as the
    answer is long, and the longest for answers beyond all of them.
    """
    units, _ = _known(price)
    if captions := _captions(units, used):
        tokens = -(-used.completion_tokens // captions)
        paid = next((each for each in _bands(price) if _reach(each) >= tokens), _bands(price)[-1])
        return (Line("caption", captions, paid.nano, paid.per),)
    counted = _counted(units, used, used.cached_tokens, used.image_tokens)
    return tuple(
        Line(each.unit, counted[each.unit], each.nano, each.per)
        for each in price.components
        if counted.get(each.unit)
    )


def total(bill: Iterable[Line]) -> int:
    """Nano-dollars of a bill, rounded once, halves up."""
    return _total((line.nano * line.quantity, line.per) for line in bill)


def _total(parts: Iterable[tuple[int, int]]) -> int:
    """The sum of fractions, rounded once, halves up."""
    exact, common = 0, 1
    for amount, per in parts:
        if per != common:  # most often all are for as many
            whole = lcm(common, per)
            exact, common = exact * (whole // common), whole
        exact += amount * (common // per)
    return (2 * exact + common) // (2 * common)


def cost(price: Price, used: Quantities) -> int:
    """What `used` costs, in nano-dollars."""
    units, _ = _known(price)
    if "caption" in units:
        found = total(lines(price, used))
    else:
        found = _apart(price, _counted(units, used, used.cached_tokens, used.image_tokens))
    return found if price.most is None else min(found, price.most)


def _apart(price: Price, counted: Mapping[Unit, int]) -> int:
    """What everything but captions costs."""
    return _total([(each.nano * counted[each.unit], each.per) for each in price.components if each.unit in counted])


def worst(price: Price, most: Quantities) -> int:
    """The highest cost of anything that uses no more than `most`, in nano-dollars: what has to be set aside."""
    found = 0
    units, cached_is_dearer = _known(price)
    if captions := _captions(units, most):
        reached = _reachable(_bands(price), most.completion_tokens)
        found = max(total([Line("caption", captions, each.nano, each.per)]) for each in reached)
    # Nothing says that tokens are images', and whether they are read from a cache is as it costs more.
    cached = most.cached_tokens if cached_is_dearer else 0
    return max(found, _apart(price, _counted(units, most, cached, 0)))


@lru_cache(maxsize=1024)
def _known(price: Price) -> tuple[frozenset[Unit], bool]:
    """The units that a price is made of, and whether a token costs more when it is read from the cache."""
    nano = {each.unit: Fraction(each.nano, each.per) for each in price.components if each.band is None}
    units = frozenset(each.unit for each in price.components)
    return units, nano.get("cached_read", 0) > nano.get("input", 0)


def _captions(units: AbstractSet[Unit], used: Quantities) -> int:
    """How many are paid by the caption."""
    if "caption" not in units:
        return 0
    return max(used.captions, used.calls) if units == {"caption"} else used.captions


def _counted(
    units: AbstractSet[Unit], used: Quantities, cached_tokens: int, image_tokens: int
) -> dict[Unit, int]:
    """What is paid of everything but captions; two of the numbers in `used` are others."""
    by_image = image_tokens if "image" in units else 0
    read = max(0, used.prompt_tokens - by_image)
    cached = min(cached_tokens, read) if "cached_read" in units else 0
    return {
        "input": read - cached, "cached_read": cached, "output": used.completion_tokens, "image": used.images,
        "call": max(used.calls, used.captions), "gpu_second": used.seconds_us, "gpu_hour": used.seconds_us,
    }  # fmt: skip


def _reach(each: Part) -> int:
    return _ENDLESS if each.band is None else each.band.most


def _bands(price: Price) -> list[Part]:
    """A caption's prices, the shortest reach first."""
    return sorted((each for each in price.components if each.unit == "caption"), key=_reach)


def _reachable(bands: list[Part], tokens: int) -> list[Part]:
    """Those of `bands` that may count for an answer of up to `tokens`."""
    return [each for index, each in enumerate(bands) if index == 0 or _reach(bands[index - 1]) < tokens]


def to_json(price: Price) -> str:
    return msgspec.json.encode(price).decode()


def from_json(text: str | bytes) -> Price:
    """The price that `to_json` wrote. Raises ValueError for anything else."""
    return msgspec.json.decode(text, type=Price)


def usd_float(nano: int) -> float:
    """Dollars as a JSON number, for clients that want one: the nearest there is. Nothing is computed from it."""
    return nano / NANO
