"""y = x W^T + b in every precision the engine knows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from . import dense, int4, int8
from .packed import Weights
from .table import fastest, kernels, working

Precision = Literal["fp32", "fp16", "bf16", "int8", "int4", "w8a8"]

_FLOAT = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Linear:
    """A weight matrix [N, K] (and bias [N]) ready to multiply; call it with [..., K] in the compute type.

    `precision` is what the matrix is really held in: int4 falls back to int8 where its groups do not fit.
    """

    def __init__(self, weights: Weights, bias: Tensor | None, precision: Precision) -> None:
        self.out_features, self.in_features = weights.N, weights.K
        self.precision = precision
        self._bias = bias
        self._use(weights)

    def _use(self, weights: Weights) -> None:
        operation = "linear_w8a8" if self.precision == "w8a8" else "linear"
        self._weights = weights
        self._kernels = kernels(operation, weights.device.type, weights.format)

    @property
    def format(self) -> str:
        """The weights' name in the kernel table."""
        return self._weights.format

    @property
    def nbytes(self) -> int:
        """Bytes held in memory for the weight, its scales and the bias."""
        return self._weights.nbytes + (0 if self._bias is None else self._bias.nbytes)

    def pack(self) -> bool:
        """Bring the weights into the fastest format of their device, dropping the old one; false: they were.

        The transient is one matrix. A packed matrix serves every number of rows.
        """
        weights = self._weights
        if weights.format == "stored":
            weights = dense.join(weights, _FLOAT[self.precision])
        pack = fastest(weights)
        if pack is not None:
            weights = pack(weights)
        if weights is self._weights:
            return False
        self._use(weights)
        return True

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        if not rows.shape[0]:
            return x.new_empty(*x.shape[:-1], self.out_features)
        kernel = next(function for most_rows, function in self._kernels if rows.shape[0] <= most_rows)
        return kernel(rows, self._weights, self._bias).view(*x.shape[:-1], self.out_features)


def held_precision(shape: tuple[int, ...] | torch.Size, precision: Precision) -> Precision:
    """What a matrix of `shape` [N, K] asked for in `precision` is held in: int8 where int4 groups do not fit K."""
    return "int8" if precision == "int4" and int4.group_for(shape[1]) is None else precision


def convert(weight: Tensor, precision: Precision, device: torch.device | str = "cpu") -> Weights:
    """`weight` [N, K] of any floating type in the plain, storable form of `precision`."""
    held = held_precision(weight.shape, precision)
    if held in _FLOAT:
        return dense.hold(weight, _FLOAT[held], device)
    if held == "int4":
        return int4.quantise(weight, int4.group_for(weight.shape[1]) or 0, device)
    return int8.quantise(weight, device)


def storable(weights: Weights) -> Weights:
    """`weights` as they are best kept in a file: packed already if they can be computed with where they are mapped.

    int4 tiles can; oneDNN's blocks are opaque, so int8 is kept as plain rows.
    """
    pack = fastest(weights) if weights.format == "int4-rows" else None
    return weights if pack is None else pack(weights)


def storage_layout(precision: str) -> str:
    """Names how `storable` lays out matrices here: files with another layout are of no use to this machine."""
    return f"int4-tiles-{int4.tile_rows()}" if precision == "int4" and "int4-tiles" in working() else "rows"


def make_linear(
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    precision: Precision,
    device: torch.device | str = "cpu",
    pack: bool = True,
) -> Linear:
    """Take `weight` [N, K] in any floating type and hold it in `precision` on `device`.

    The result keeps no reference to `weight` unless it is of the right type and device and not packed. With
    `pack` false the matrix stays as it is (mapped from its file, say) until `Linear.pack` is called.
    """
    return linear_from(convert(weight, precision, device), bias, precision=precision, device=device, pack=pack)


def linear_from(
    weights: Weights,
    bias: Tensor | None = None,
    *,
    precision: Precision,
    device: torch.device | str = "cpu",
    pack: bool = True,
) -> Linear:
    """The same from what `convert` returned, perhaps in an earlier process and through a cache file."""
    held = held_precision((weights.N, weights.K), precision)
    # Quantised kernels add the bias to fp32 sums; the others in the type of the weights.
    dtype = _FLOAT.get(held, torch.float32)
    moved = None if bias is None else bias.to(device=device, dtype=dtype)
    linear = Linear(weights.to(device), moved, held)
    if pack:
        linear.pack()
    return linear
