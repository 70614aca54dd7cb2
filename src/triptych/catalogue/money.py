"""Money as whole nano-dollars, read from decimal text: a float never holds a price."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction

NANO = 10**9

_TEXT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


def parse_usd(text: str) -> int:
    """Nano-dollars of a decimal text such as `0.0019`. Raises ValueError for signs, exponents, and what is finer than
    a nano-dollar.
    """
    if text.startswith("-"):
        raise ValueError(f"{text} is negative")
    if not _TEXT.fullmatch(text):
        raise ValueError(f"{text!r} is not dollars in decimal digits, such as 0.0019")
    nano = Decimal(text) * NANO
    if nano != int(nano):
        raise ValueError(f"{text} is finer than a nano-dollar (9 decimals)")
    return int(nano)


def usd(nano: int) -> str:
    """The shortest decimal text with at least two decimals: 1,900,000 is `0.0019`."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"


def dollars(nano: int) -> str:
    """As people read it: cents from a dollar on, three digits that count below."""
    if nano < 0:
        return f"-{dollars(-nano)}"
    if nano >= NANO or nano == 0:
        return f"${nano / NANO:,.2f}"
    text = f"{nano / NANO:.{2 - math.floor(math.log10(nano / NANO))}f}"
    whole, _, part = text.partition(".")
    return f"${whole}.{part.rstrip('0').ljust(2, '0')}"


def rounded(amount: Fraction) -> int:
    """Whole nano-dollars; halves go up."""
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)
