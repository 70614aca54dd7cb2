"""What one request cost, and how that comes about."""

from __future__ import annotations

from dataclasses import dataclass

from ...accounts.cost import from_json
from ...admin_usage import bill_of
from ...store.usage import UsageRecord


@dataclass(frozen=True, slots=True)
class Bill:
    """Nano-dollars, the arithmetic line by line, and where the price is from ("" for none)."""

    nano: int
    lines: tuple[str, ...]
    source: str

    @classmethod
    def of(cls, row: UsageRecord) -> Bill:
        price = from_json(row.price)
        return cls(row.cost_nano, tuple(bill_of(row, price)), price.source if price.priced else "")
