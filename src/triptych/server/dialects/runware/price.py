"""What a caption would cost at Runware: what callers see who ask for a cost. Nothing is charged here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Price:
    """`usd` for one result, as `source` lists it in its row `row`; `seen` is the day it was read there."""

    usd: float
    row: str
    source: str
    seen: str


# All answers that the page shows cost the same, whatever their length: it is a price per caption.
CAPTION = Price(
    0.0019, "80 - 100 tokens", "https://runware.ai/docs/models/meta-llava-1-6-mistral-7b", "2026-04-19"
)
