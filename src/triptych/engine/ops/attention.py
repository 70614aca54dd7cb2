"""Causal attention of a step's rows over a paged cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..plan import StepPlan


class KVCache:
    """Keys and values of all layers: `keys[layer]` and `values[layer]` are [slots, kv_heads, D].

    A slot is `block * block_size + offset`; nothing here knows which sequence a slot belongs to.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (slots, kv_heads, head_dim)
        self.slots = slots
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))


@dataclass(frozen=True, slots=True)
class RowPlan:
    """One row of a step: tokens [start, start + length) of T, attending to the cache slots `context_slots`."""

    start: int
    length: int
    context: int
    context_slots: Tensor


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """What all layers of one step need to know about its rows, computed once."""

    slots: Tensor
    rows: tuple[RowPlan, ...]

    @staticmethod
    def build(plan: StepPlan, device: torch.device | str, block_size: int) -> AttentionPlan:
        offsets = torch.arange(block_size)
        rows = []
        for row in plan.rows:
            used = -(-row.context // block_size)
            table = torch.tensor(row.sequence.block_table[:used], dtype=torch.int64)
            slots = (table[:, None] * block_size + offsets).reshape(-1)[: row.context]
            rows.append(RowPlan(row.start, row.length, row.context, slots.to(device)))
        return AttentionPlan(torch.tensor(plan.slots, dtype=torch.int64, device=device), tuple(rows))


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cache_k: Tensor,
    cache_v: Tensor,
    attn: AttentionPlan,
    *,
    window: int | None = None,
) -> Tensor:
    """Store `k`, `v` [T, Hkv, D] in their slots, then attend `q` [T, Hq, D] causally, row by row, over its context.

    `window` limits each token to itself and the `window - 1` tokens before it. Returns [T, Hq, D].
    """
    cache_k[attn.slots] = k
    cache_v[attn.slots] = v
    out = torch.empty_like(q)
    for row in attn.rows:
        span = slice(row.start, row.start + row.length)
        keys, values = cache_k[row.context_slots], cache_v[row.context_slots]
        last = torch.arange(row.context - row.length, row.context, device=q.device)[:, None]
        position = torch.arange(row.context, device=q.device)[None, :]
        mask = position <= last
        if window is not None:
            mask &= position > last - window
        out[span] = F.scaled_dot_product_attention(
            q[span].transpose(0, 1),
            keys.transpose(0, 1),
            values.transpose(0, 1),
            attn_mask=mask,
            enable_gqa=q.shape[1] != k.shape[1],
        ).transpose(0, 1)
    return out
