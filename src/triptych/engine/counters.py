"""Totals of an engine since its start. No tensors."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, fields, replace

# Steps are counted by their tokens: up to each of these (vLLM's bounds), and beyond the last.
STEP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_STEPS = "steps_of_tokens"


@dataclass(slots=True)
class Counters:
    """`image_queries` are pictures that requests showed, each where it stands; `image_hits` those of them that were not
    encoded for it: features kept or met before in the same prompt, or a prompt that a cached prefix covers.
    `step_sizes` are steps that came to their end, by `STEP_TOKENS`, and `step_tokens` what they computed.
    """

    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    finished: int = 0
    failed: int = 0
    aborted: int = 0
    busy_seconds: float = 0.0
    image_queries: int = 0
    image_hits: int = 0
    step_tokens: int = 0
    step_sizes: tuple[int, ...] = field(default=(0,) * (len(STEP_TOKENS) + 1))

    def step_done(self, tokens: int) -> None:
        """A step computed `tokens`."""
        self.step_tokens += tokens
        sizes = list(self.step_sizes)
        sizes[bisect_left(STEP_TOKENS, tokens)] += 1
        self.step_sizes = tuple(sizes)

    def snapshot(self) -> Counters:
        """As it is now; the next step does not change it."""
        return replace(self)

    def values(self) -> dict[str, float]:
        """All totals by name."""
        plain = {item.name: float(getattr(self, item.name)) for item in fields(self) if item.name != "step_sizes"}
        return plain | dict(zip(STEP_SIZE_NAMES, map(float, self.step_sizes), strict=True))


# What `values` calls the counts of steps by size.
STEP_SIZE_NAMES = tuple(f"{_STEPS}_{bound}" for bound in (*STEP_TOKENS, "more"))
