"""A model's own price, as it is written in the settings: a table of dollars in decimal text."""

from __future__ import annotations

from typing import Any

from ..catalogue.money import NANO, parse_usd, usd
from ..catalogue.units import UNITS, Unit
from .accounts.cost import Price, part
from .setting_kinds import Place

# What is written, and what it is the price of.
FIELDS: dict[str, Unit] = {
    "input": "input", "output": "output", "cached": "cached_read", "image": "image", "caption": "caption",
    "call": "call", "second": "gpu_second",
}  # fmt: skip
SOURCE = "the settings of this server"
# Above it a price is a slip, in dollars.
_MOST = 10_000


def read_price(place: Place, prefix: str, value: Any) -> Price:
    """The price in a table such as `{input = "0.15", output = "0.45"}`. Raises SettingsError naming the field."""
    if not isinstance(value, dict) or not value:
        raise place.error(prefix, f"must be a table with some of {', '.join(FIELDS)}")
    place.reject_unknown(value, FIELDS, f"{prefix}.")
    nano = {name: _nano(place, f"{prefix}.{name}", value[name]) for name in FIELDS if name in value}
    return Price(tuple(part(FIELDS[name], each) for name, each in nano.items()), SOURCE)


def _nano(place: Place, key: str, value: Any) -> int:
    if not isinstance(value, str):
        raise place.error(key, f'must be dollars as text, such as "0.15", not {value!r}'[:200])
    try:
        nano = parse_usd(value.strip())
    except ValueError as error:
        raise place.error(key, f"is no price: {error}"[:200]) from None
    if nano > _MOST * NANO:
        raise place.error(key, f"is absurd: ${value} is over ${_MOST:,}")
    return nano


def written(price: Price) -> dict[str, str]:
    """The table of a price, its dollars as text."""
    names = {unit: name for name, unit in FIELDS.items()}
    return {names[each.unit]: usd(each.nano) for each in price.components}


def told(price: Price) -> str:
    """In a line, such as `input $0.15 / 1M`."""
    return ", ".join(
        f"{name} ${dollars}{' / 1M' if UNITS[FIELDS[name]].per > 1 else ''}" for name, dollars in written(price).items()
    )
