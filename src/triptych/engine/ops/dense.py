"""Linear kernels for weights that are not quantised.

plain   {"weight": [N, K] in fp32, fp16 or bf16}. Any device.
onednn  {"weight": [N, K] bf16, opaque}. CPU: reordered once into the blocks oneDNN multiplies, which F.linear
        does again on each call (measured: 1.3 to 1.8 times its speed at 1 to 16 rows, 1.05 at 600).
"""

from __future__ import annotations

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
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
