"""What prices are for: the units of a price component, and the most that one can cost without being a slip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .money import NANO, parse_usd, usd

Unit = Literal[
    "input", "output", "cached_read", "cached_write", "batch_input", "batch_output", "image", "caption", "call",
    "gpu_second", "gpu_hour",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class UnitKind:
    """`per` is how many things one price is for, `thing` and `how` what one is; `most` is in nano-dollars."""

    per: int
    thing: str
    label: str
    most: int
    how: str = ""

    def count(self, quantity: int) -> str:
        """So many things, in words."""
        return f"{quantity:,} {self.thing}{'' if quantity == 1 else 's'}{self.how}"


_MILLION = 1_000_000
UNITS: dict[Unit, UnitKind] = {
    "input": UnitKind(_MILLION, "input token", "input / 1M", 10_000 * NANO),
    "output": UnitKind(_MILLION, "output token", "output / 1M", 10_000 * NANO),
    "cached_read": UnitKind(_MILLION, "input token", "cache read / 1M", 1_000 * NANO, " read from a cache"),
    "cached_write": UnitKind(_MILLION, "input token", "cache write / 1M", 1_000 * NANO, " written to a cache"),
    "batch_input": UnitKind(_MILLION, "input token", "batch input / 1M", 1_000 * NANO, " in a batch"),
    "batch_output": UnitKind(_MILLION, "output token", "batch output / 1M", 1_000 * NANO, " in a batch"),
    "image": UnitKind(1, "image", "per image", 10 * NANO),
    "caption": UnitKind(1, "caption", "per caption", 10 * NANO),
    "call": UnitKind(1, "call", "per call", 10 * NANO),
    "gpu_second": UnitKind(1, "GPU-second", "per GPU-second", 1 * NANO),
    "gpu_hour": UnitKind(1, "GPU-hour", "per GPU-hour", 1_000 * NANO),
}
assert set(UNITS) == set(get_args(Unit))


def read_price(unit: Unit, text: str) -> int:
    """Nano-dollars per `UNITS[unit].per` things. Raises ValueError for what is no price or absurd."""
    nano = parse_usd(text)
    most = UNITS[unit].most
    if nano > most:
        raise ValueError(f"${text} is absurd for {UNITS[unit].label} (the most that is believed is ${usd(most)})")
    return nano
