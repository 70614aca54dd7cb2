"""One growing list of tokens: the unit the scheduler gives computation to. No tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .request import ImageSpan, Request, SamplingParams

SequenceStatus = Literal["waiting", "running", "finished"]


@dataclass(eq=False, slots=True)
class Sequence:
    """Tokens known and tokens computed, and the KV blocks that hold the computed ones.

    `tokens` are the prompt followed by what was generated; the first `computed` of them have their keys and
    values in the blocks of `block_table` (block i holds tokens `i * block_size ...`). Everything the scheduler
    does is letting `computed` catch up with `len(tokens)`; when it has caught up, one more token is sampled.
    `block_keys` are the prefix-cache keys of the full blocks, extended as blocks fill. `reached` is the most that was
    ever computed, which a preemption takes nothing from.
    """

    request: Request
    index: int = 0
    tokens: list[int] = field(default_factory=list)
    computed: int = 0
    cached: int = 0
    reached: int = 0
    block_table: list[int] = field(default_factory=list)
    block_keys: list[bytes] = field(default_factory=list)
    status: SequenceStatus = "waiting"
    preemptions: int = 0

    def __post_init__(self) -> None:
        if not self.tokens:
            self.tokens = list(self.request.prompt.token_ids)

    @property
    def params(self) -> SamplingParams:
        return self.request.params

    @property
    def spans(self) -> tuple[ImageSpan, ...]:
        return self.request.prompt.spans

    @property
    def prompt_length(self) -> int:
        return len(self.request.prompt.token_ids)

    @property
    def generated(self) -> list[int]:
        return self.tokens[self.prompt_length :]

    @property
    def generated_length(self) -> int:
        return len(self.tokens) - self.prompt_length

    @property
    def remaining(self) -> int:
        """Tokens known but not yet computed."""
        return len(self.tokens) - self.computed
