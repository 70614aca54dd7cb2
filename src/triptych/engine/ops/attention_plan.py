"""What all layers of one step need to know about its rows, worked out once per step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..plan import Row, StepPlan


@dataclass(frozen=True, slots=True)
class Context:
    """The cache slots of one row's context: `slots` [context], and where they begin if they lie side by side."""

    slots: Tensor
    first: int | None

    def read(self, cache: Tensor) -> Tensor:
        """[context, Hkv, D] of `cache` [slots, Hkv, D]: a view where possible, else a copy."""
        if self.first is not None:
            return cache[self.first : self.first + len(self.slots)]
        return cache.index_select(0, self.slots)


@dataclass(frozen=True, slots=True)
class FreshRows:
    """`count` neighbouring rows of `length` tokens each from `start` on that have nothing in the cache yet."""

    start: int
    count: int
    length: int


@dataclass(frozen=True, slots=True)
class PrefixedRow:
    """A row of several tokens from `start` on, the first of which follows a cached prefix.

    `mask` fp32 [length, context] is 0 for what a token sees and -inf for the tokens after it.
    """

    start: int
    length: int
    context: Context
    mask: Tensor


@dataclass(frozen=True, slots=True)
class DecodeRow:
    """One token at `start`, over a context long enough to be worth a call of its own."""

    start: int
    context: Context


@dataclass(frozen=True, slots=True)
class DecodeGroup:
    """Single tokens at `starts` [R] over similar contexts, gathered block by block and padded to the longest.

    `blocks` [R * B] are their block tables, filled up with block 0; `mask` fp32 [R, 1, 1, B * block_size] is
    0 for a row's own tokens and -inf for the rest.
    """

    starts: Tensor
    blocks: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """`slots` [T] say where each token is stored (`first_slot`: side by side from there on). The rest sorts the
    rows by how their attention is computed best; `rows` has them all, in order, for the general way."""

    slots: Tensor
    first_slot: int | None
    block_size: int
    rows: tuple[tuple[int, int, Context], ...]
    fresh: tuple[FreshRows, ...]
    prefixed: tuple[PrefixedRow, ...]
    decode: tuple[DecodeRow, ...]
    groups: tuple[DecodeGroup, ...]

    @staticmethod
    def build(plan: StepPlan, device: torch.device | str, block_size: int) -> AttentionPlan:
        return _build(plan, torch.device(device), block_size)

    @property
    def longest(self) -> int:
        """The longest context of any row."""
        return max((len(context.slots) for _, _, context in self.rows), default=0)


# Decode rows with at least this many cached tokens read their context in place when it lies side by side; for
# shorter ones a call per row costs more than gathering all of them.
LONG_CONTEXT = 256
# Up to this many decode rows, calls are few anyway.
FEW_ROWS = 2


def _build(plan: StepPlan, device: torch.device, block_size: int) -> AttentionPlan:
    fresh, prefixed, alone, together = [], [], [], []
    rows = []
    few = sum(row.length == 1 for row in plan.rows) <= FEW_ROWS
    for row in plan.rows:
        context = _context(row, device, block_size)
        rows.append((row.start, row.length, context))
        if row.length == 1 and (few or (row.context >= LONG_CONTEXT and context.first is not None)):
            alone.append(DecodeRow(row.start, context))
        elif row.length == 1:
            together.append(row)
        elif row.length == row.context:
            fresh.append(row)
        else:
            mask = _causal_mask(row.length, row.context, device)
            prefixed.append(PrefixedRow(row.start, row.length, context, mask))
    return AttentionPlan(
        slots=torch.tensor(plan.slots, dtype=torch.int64, device=device),
        first_slot=_run(plan.slots),
        block_size=block_size,
        rows=tuple(rows),
        fresh=_merge(fresh),
        prefixed=tuple(prefixed),
        decode=tuple(alone),
        groups=tuple(_groups(together, device, block_size)),
    )


def _context(row: Row, device: torch.device, block_size: int) -> Context:
    table = row.sequence.block_table[: -(-row.context // block_size)]
    first = _run(table)
    if first is not None:
        start = first * block_size
        return Context(torch.arange(start, start + row.context, device=device), start)
    blocks = torch.tensor(table, dtype=torch.int64)[:, None] * block_size + torch.arange(block_size)
    return Context(blocks.flatten()[: row.context].to(device), None)


def _causal_mask(length: int, context: int, device: torch.device) -> Tensor:
    """The last `length` of `context` tokens see themselves and what is before them.

    (`is_causal` would align the mask to the upper left corner: right only without a prefix.)
    """
    hidden = torch.ones(length, context, dtype=torch.bool, device=device).triu_(context - length + 1)
    return torch.zeros(length, context, device=device).masked_fill_(hidden, -torch.inf)


def _run(numbers: Sequence[int]) -> int | None:
    """The first of `numbers` if each is one more than the one before."""
    if not numbers or numbers[-1] - numbers[0] != len(numbers) - 1:
        return None
    ordered = all(after - before == 1 for before, after in pairwise(numbers))
    return numbers[0] if ordered else None


def _merge(rows: list[Row]) -> tuple[FreshRows, ...]:
    """Neighbours of equal length become one batch."""
    merged: list[FreshRows] = []
    for row in rows:
        last = merged[-1] if merged else None
        if last and last.length == row.length and last.start + last.count * last.length == row.start:
            merged[-1] = FreshRows(last.start, last.count + 1, last.length)
        else:
            merged.append(FreshRows(row.start, 1, row.length))
    return tuple(merged)


def _groups(rows: list[Row], device: torch.device, block_size: int) -> list[DecodeGroup]:
    """Rows whose block counts have the same number of bits share a group, so padding is at most half of it."""
    by_size: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_size[(-(-row.context // block_size)).bit_length()].append(row)
    groups = []
    for members in by_size.values():
        widest = max(-(-row.context // block_size) for row in members)
        tables = []
        for row in members:
            table = row.sequence.block_table[: -(-row.context // block_size)]
            tables.append(table + [0] * (widest - len(table)))
        lengths = torch.tensor([row.context for row in members])
        hidden = torch.arange(widest * block_size)[None, :] >= lengths[:, None]
        mask = torch.zeros(hidden.shape).masked_fill_(hidden, -torch.inf)[:, None, None, :]
        groups.append(
            DecodeGroup(
                torch.tensor([row.start for row in members], device=device),
                torch.tensor(tables, dtype=torch.int64, device=device).flatten(),
                mask.to(device),
            )
        )
    return groups
