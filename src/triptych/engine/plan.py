"""What one step computes, as plain numbers: the scheduler writes it, the runner executes it. No tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

from .request import ImageSpan
from .sequence import Sequence


@dataclass(frozen=True, slots=True)
class Row:
    """The slice of one sequence that a step computes.

    Its tokens are `token_ids[start : start + length]` of the plan; `context` is how many tokens of the sequence
    have keys and values once the step is done (so they take positions `context - length ... context - 1`).
    `sample` is true when the row reaches the sequence's last known token, so that its last position yields the
    next one.
    """

    sequence: Sequence
    start: int
    length: int
    context: int
    sample: bool


@dataclass(frozen=True, slots=True)
class Paste:
    """Image features `[source, source + length)` of `span` replace the embeddings at flat `destination`."""

    span: ImageSpan
    source: int
    destination: int
    length: int


@dataclass(slots=True)
class StepPlan:
    """All rows of one step in one flat token dimension T.

    `token_ids`, `positions` and `slots` have T entries; a slot is `block * block_size + offset` and says where
    the token's key and value are stored. `encode` lists images whose features are needed by `pastes` and are
    not in the embedding cache; an image appears once however many rows need it.
    """

    rows: list[Row] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    encode: list[ImageSpan] = field(default_factory=list)
    pastes: list[Paste] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.token_ids)
