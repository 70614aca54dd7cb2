"""The bounds a scheduler works within, and the numbers it reports. No tensors."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ParameterError


@dataclass(frozen=True, slots=True)
class SchedulerLimits:
    """Bounds of one step and of the queue; None means no bound of its own.

    token_budget           tokens computed per step
    chunk_while_decoding   prompt tokens per step while others decode
    max_rows               sequences running at once
    tile_budget            vision-tower inputs encoded per step; one image always may be, however large
    max_waiting            requests that have not started
    max_context            tokens of one sequence, generated ones included; None: what the KV cache can hold

    Raises `ParameterError` naming the field.
    """

    token_budget: int = 8192
    chunk_while_decoding: int | None = None
    max_rows: int = 64
    tile_budget: int = 16
    max_waiting: int = 1024
    max_context: int | None = None

    def __post_init__(self) -> None:
        for name in ("token_budget", "max_rows", "tile_budget", "max_waiting"):
            _check_positive(name, getattr(self, name))
        for name in ("chunk_while_decoding", "max_context"):
            if getattr(self, name) is not None:
                _check_positive(name, getattr(self, name))
        if self.token_budget < self.max_rows:
            raise ParameterError(
                f"token_budget ({self.token_budget}) must be at least max_rows ({self.max_rows}), "
                "or running sequences would starve",
                "token_budget",
            )


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """A snapshot, in sequences and blocks, and totals since the start.

    `prompt_tokens` and `cached_tokens` count each sequence once, at its first admission; `computed_tokens`
    counts every computation, repeated ones after a preemption included.
    """

    waiting: int
    running: int
    blocks_total: int
    blocks_empty: int
    blocks_cached: int
    blocks_used: int
    prompt_tokens: int
    cached_tokens: int
    computed_tokens: int
    preemptions: int
    finished: int


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ParameterError(f"{name} must be at least 1, not {value}", name)
