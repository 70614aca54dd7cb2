"""Linear kernels for weights that are not quantised.

plain   {"weight": [N, K] in fp32, fp16 or bf16}. Any device.
stored  {"0": [N0, K], "1": [N1, K], ...} in any of these types, under each other: a matrix as it lies in the files
        of a checkpoint, so that a model can start before its weights are copied. Any device.
onednn  {"weight": [N, K] bf16, opaque}. CPU: reordered once into the blocks oneDNN multiplies, which F.linear
        does again on each call (measured: 1.3 to 1.8 times its speed at 1 to 16 rows, 1.05 at 600).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .packed import Weights, row_blocks

# One or two rows run on a slower oneDNN kernel than four, so they are padded (see bench/kernels.py).
SMALLEST_ONEDNN_ROWS = 4


def hold(weight: Tensor, dtype: torch.dtype, device: torch.device | str) -> Weights:
    """`weight` [N, K] as it is, in `dtype`."""
    N, K = weight.shape
    return Weights("plain", N, K, {"weight": weight.to(device=device, dtype=dtype)})


def as_stored(parts: Sequence[Tensor]) -> Weights:
    """Matrices [Ni, K] under each other, none of them touched."""
    N, K = sum(part.shape[0] for part in parts), parts[0].shape[1]
    return Weights("stored", N, K, {str(number): part for number, part in enumerate(parts)})


def join(weights: Weights, dtype: torch.dtype) -> Weights:
    """The `stored` matrix as a `plain` one in `dtype`; a single part that already is stays where it is."""
    parts = list(weights.tensors.values())
    if len(parts) == 1:
        return hold(parts[0], dtype, weights.device)
    whole = parts[0].new_empty(weights.N, weights.K, dtype=dtype)
    for target, part in zip(whole.split([len(part) for part in parts]), parts, strict=True):
        target.copy_(part)
    return Weights("plain", weights.N, weights.K, {"weight": whole})


def reorder(weights: Weights) -> Weights:
    """The `plain` bf16 matrix in oneDNN's own blocks."""
    opaque = torch.ops.mkldnn._reorder_linear_weight(weights.tensors["weight"], SMALLEST_ONEDNN_ROWS)
    return Weights("onednn", weights.N, weights.K, {"weight": opaque})


def plain(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    """F.linear. Weights stored in another type than `x` are converted block by block, never as a whole."""
    weight = w.tensors["weight"]
    if weight.dtype == x.dtype:
        return F.linear(x, weight, bias)
    out = x.new_empty(x.shape[0], w.N)
    for start, stop in row_blocks(w.N, w.K, x.element_size()):
        out[:, start:stop] = F.linear(x, weight[start:stop].to(x.dtype))
    return out if bias is None else out.add_(bias)


def stored(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    """Part by part, from where they are; a type other than that of `x` is converted block by block."""
    parts = w.tensors.values()
    outs = [plain(x, Weights("plain", len(part), w.K, {"weight": part}), None) for part in parts]
    out = torch.cat(outs, dim=1) if len(outs) > 1 else outs[0]
    return out if bias is None else out.add_(bias)


def onednn(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, w.tensors["weight"], bias, "none", [], "")


def onednn_few(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    """Fewer than `SMALLEST_ONEDNN_ROWS` rows, padded with zeros."""
    padded = F.pad(x, (0, 0, 0, SMALLEST_ONEDNN_ROWS - x.shape[0]))
    return onednn(padded, w, bias)[: x.shape[0]]


def onednn_works() -> bool:
    """Whether this torch and this processor multiply reordered bf16 weights: tried on a small matrix."""
    try:
        weight = torch.eye(16, 32, dtype=torch.bfloat16)
        held = reorder(Weights("plain", 16, 32, {"weight": weight}))
        x = torch.arange(32, dtype=torch.bfloat16).expand(2, 32)
        return torch.equal(onednn_few(x, held, None), x[:, :16])
    except (RuntimeError, AttributeError):
        return False
