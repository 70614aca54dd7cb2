"""Sparse mixture of experts: each token goes through its `top_k` experts only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .linear import Linear


class Experts:
    """E gated feed-forward blocks of one layer: `gate_up[e]` is [2F, H] (gate rows first), `down[e]` is [H, F]."""

    def __init__(self, gate_up: Sequence[Linear], down: Sequence[Linear]) -> None:
        if len(gate_up) != len(down):
            raise ValueError(f"{len(gate_up)} gate/up matrices but {len(down)} down matrices")
        self.gate_up = tuple(gate_up)
        self.down = tuple(down)

    def __len__(self) -> int:
        return len(self.down)

    @property
    def nbytes(self) -> int:
        return sum(linear.nbytes for linear in (*self.gate_up, *self.down))

    def run(self, expert: int, x: Tensor) -> Tensor:
        """down(silu(gate x) * up x) of one expert for `x` [R, H] -> [R, H]."""
        gate, up = self.gate_up[expert](x).chunk(2, dim=-1)
        return self.down[expert](F.silu(gate) * up)


def route(x: Tensor, router: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """(weights fp32 [T, top_k], experts [T, top_k]) for `x` [T, H] and `router` [E, H].

    The logits are computed in the model's type, as the published model does (fp32 ones flip near ties); a
    softmax over the selected logits equals a softmax over all, renormalised.
    """
    logits, chosen = torch.topk(F.linear(x, router).float(), top_k, dim=-1)
    return torch.softmax(logits, dim=-1), chosen


def moe(x: Tensor, router: Tensor, experts: Experts, top_k: int) -> Tensor:
    """Mixture output [T, H] for `x` [T, H]: weighted in fp32, summed in order of rank, cast once.

    Tokens are grouped by expert, so that each expert's weights are read once, and only routed experts at all.
    """
    T, H = x.shape
    weights, chosen = route(x, router, top_k)
    flat = chosen.reshape(-1)
    order = torch.argsort(flat, stable=True)
    counts = torch.bincount(flat, minlength=len(experts)).tolist()
    outputs = torch.empty(T * top_k, H, dtype=torch.float32, device=x.device)
    start = 0
    for expert, count in enumerate(counts):
        if count:
            pairs = order[start : start + count]
            outputs[pairs] = experts.run(expert, x[pairs // top_k]).float()
            start += count
    return (outputs.view(T, top_k, H) * weights[..., None]).sum(dim=1).to(x.dtype)
