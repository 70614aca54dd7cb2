"""y = x W^T + b in every precision the engine knows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Precision = Literal["fp32", "fp16", "bf16", "int8", "int4", "w8a8"]


class Linear:
    """A weight matrix [N, K] (and bias [N]) ready to multiply; call it with [..., K] in the compute type."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.out_features, self.in_features = weight.shape
        self._weight = weight
        self._bias = bias

    @property
    def nbytes(self) -> int:
        """Bytes held in memory for the weight, its scales and the bias."""
        return self._weight.nbytes + (0 if self._bias is None else self._bias.nbytes)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self._weight, self._bias)


def make_linear(
    weight: Tensor, bias: Tensor | None = None, *, precision: Precision, device: torch.device | str = "cpu"
) -> Linear:
    """Take `weight` [N, K] in any floating type and hold it in `precision` on `device`.

    The result keeps no reference to `weight` unless it is already of the right type and device.
    """
    dtype = {"fp32": torch.float32, "fp16": torch.float16}.get(precision, torch.bfloat16)
    moved = None if bias is None else bias.to(device=device, dtype=dtype)
    return Linear(weight.to(device=device, dtype=dtype), moved)
