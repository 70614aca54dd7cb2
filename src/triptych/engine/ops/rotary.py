"""Rotary position embedding in the half-split form of Llama, Mistral and Mixtral."""

from __future__ import annotations

import torch
from torch import Tensor


class RotaryTable:
    """Cosines and sines for any position below `max_positions`, computed for the positions of a step.

    Computing [T, D] angles once per step costs less than reading them from a table of every position, and
    the numbers are those of the published models: angles, cos and sin in fp32, then cast.
    """

    def __init__(self, theta: float, head_dim: int, max_positions: int, device: torch.device | str = "cpu") -> None:
        self.max_positions = max_positions
        steps = torch.arange(0, head_dim, 2, dtype=torch.int64, device=device).float()
        self._inverse_frequency = 1.0 / (theta ** (steps / head_dim))

    def at(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(cos, sin), each [T, D] in `dtype`, for integer `positions` [T]."""
        angles = positions.to(torch.float32)[:, None] * self._inverse_frequency[None, :]
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate `x` [T, heads, D] by `cos`, `sin` [T, D]; query and key heads may be stacked in one call."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos[:, None, :] + turned * sin[:, None, :]


def apply_rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """`rotate` for queries [T, Hq, D] and keys [T, Hkv, D]."""
    return rotate(q, cos, sin), rotate(k, cos, sin)
