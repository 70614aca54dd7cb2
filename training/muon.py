"""Muon: momentum whose steps are made orthogonal, for the matrices inside a network (Jordan et al., 2024).

torch.optim.Muon computes in bf16, which processors without bf16 instructions emulate forty times slower, and one matrix
at a time. This one computes in float32, many matrices at once, on every worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

_MOMENTUM = 0.95
_TOGETHER = 8


def orthogonal(stack: Tensor, steps: int = 5) -> Tensor:
    """Move the singular values of every matrix of `stack` [N, m, n] near 1 (Newton-Schulz, quintic)."""
    tall = stack.shape[1] > stack.shape[2]
    x = stack.transpose(1, 2) if tall else stack
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """`spread` maps a function over a list, on as many workers as there are. Steps have the size of AdamW's at `lr`."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        spread: Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]] = map,
    ) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        self.spread = spread

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Apply the gradients at hand; weights without one rest."""
        work: list[tuple[list[nn.Parameter], float, float]] = []
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault(weight.shape, []).append(weight)
            for weights in alike.values():
                for at in range(0, len(weights), _TOGETHER):
                    work.append((weights[at : at + _TOGETHER], group["lr"], group["weight_decay"]))
        list(self.spread(self._move, work))

    @torch.no_grad()
    def _move(self, part: tuple[list[nn.Parameter], float, float]) -> None:
        weights, lr, decay = part
        momenta = [self.state[weight].setdefault("momentum", torch.zeros_like(weight)) for weight in weights]
        ahead = []
        for weight, momentum in zip(weights, momenta, strict=True):
            momentum.lerp_(weight.grad, 1 - _MOMENTUM)
            ahead.append(weight.grad.lerp(momentum, _MOMENTUM))
        steps = orthogonal(torch.stack(ahead))
        size = 0.2 * max(steps.shape[1:]) ** 0.5
        for weight, step in zip(weights, steps, strict=True):
            weight.mul_(1 - lr * decay).sub_(step, alpha=lr * size)
