"""Linear kernels for int8 weights with one scale per row: w[n, k] = scale[n] * q[n, k].

int8-rows    {"weight": int8 [N, K], "scale": fp32 [N]}. Any device; the form in cache files and the slow twin.
int8-onednn  {"weight": opaque s8 [K, N], "scale": fp32 [N]}. CPU with exact u8 x s8 products.

oneDNN multiplies 8-bit activations only. To keep the precision weight-only, an activation is split into two
bytes of a 16-bit number per token (x = s * (256 * hi + lo)), both multiplied by the same weights: relative to
the largest entry of its token it is exact to 2^-16, where bf16 has 2^-9. `w8a8` uses the high byte alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .packed import Weights, row_blocks

# Up to this many rows torch's kernel for plain int8 weights is worth its single pass over them.
MOST_FEW_ROWS = 4
# Fewer multiplied rows than this run on a slower oneDNN kernel (see bench/kernels.py).
SMALLEST_ROWS = 4
# fp32 results of more tokens than this are made in several passes, to bound memory.
LARGEST_ROWS = 640
# A token whose largest activation is this many times its root mean square keeps 16-bit activations in w8a8: at
# 8 bits its rounding noise would be above 5 % of its signal. These are the spikes that LLaVA's and Mixtral's
# decoders have on a few early tokens.
SPIKE = 24.0

_SYMMETRIC = 128  # u8 zero point
# Added to a small fp32 number it leaves no bits behind the point, so that the low bits are the rounded integer.
_ROUNDING = 1.5 * 2**23


def quantise(weight: Tensor, device: torch.device | str) -> Weights:
    """Round `weight` [N, K] of any floating type to int8 with a symmetric scale per row."""
    N, K = weight.shape
    q = torch.empty(N, K, dtype=torch.int8, device=device)
    scale = torch.empty(N, dtype=torch.float32, device=device)
    for start, stop in row_blocks(N, K, 4):
        block = weight[start:stop].to(device=device, dtype=torch.float32)
        step = block.abs().amax(dim=1).div_(127).clamp_min_(1e-30)
        scale[start:stop] = step
        q[start:stop] = (block / step[:, None]).round_().to(torch.int8)
    return Weights("int8-rows", N, K, {"weight": q, "scale": scale})


def prepack(weights: Weights) -> Weights:
    """The `int8-rows` matrix in oneDNN's own blocks."""
    opaque = torch.ops.onednn.qlinear_prepack(weights.tensors["weight"], None)
    zero_points = torch.zeros(weights.N, dtype=torch.int32)
    tensors = {"weight": opaque, "scale": weights.tensors["scale"], "zero_points": zero_points}
    return Weights("int8-onednn", weights.N, weights.K, tensors)


def rows(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    """Weight-only, plain torch: int8 is exact in every compute type, so only the result is scaled."""
    q, scale = w.tensors["weight"], w.tensors["scale"]
    out = torch.empty(x.shape[0], w.N, dtype=torch.float32, device=x.device)
    for start, stop in row_blocks(w.N, w.K, x.element_size()):
        out[:, start:stop] = F.linear(x, q[start:stop].to(x.dtype))
    return _finish(out.mul_(scale), bias, x.dtype)


def rows_few(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    """Weight-only, torch's own kernel for few rows on the CPU: it reads the weights once per four of them.

    It takes K in steps of 16 without looking, and reads beyond the end of other rows.
    """
    if w.K % 16:
        return rows(x, w, bias)
    ones = torch.ones(w.N, dtype=torch.bfloat16)
    out = torch._weight_int8pack_mm(x.bfloat16().contiguous(), w.tensors["weight"], ones)
    return _finish(out.float().mul_(w.tensors["scale"]), bias, x.dtype)


def rows_w8a8(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    """The slow twin of `onednn_w8a8`: activations rounded to 8 bits per token, but for spikes."""
    wide = x.float()
    step, spikes = _steps(wide)
    # Small whole numbers, which every compute type holds exactly.
    number = torch.where(spikes[:, None], wide / step, (wide / step).round())
    return _finish(rows(number.to(x.dtype), w, None).float().mul_(step), bias, x.dtype)


def onednn(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    """Weight-only: 16-bit activations as two bytes."""
    T = x.shape[0]
    if T > LARGEST_ROWS:
        return torch.cat([onednn(part, w, bias) for part in x.split(LARGEST_ROWS)])
    packed, scale = _split_bytes(x)
    both = _multiply(packed, w)
    out = torch.add(both[T : 2 * T], both[:T], alpha=256).mul_(scale)
    return _finish(out, bias, x.dtype)


def onednn_w8a8(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    """8-bit activations with one scale per token, but for tokens with spikes."""
    if x.shape[0] > LARGEST_ROWS:
        return torch.cat([onednn_w8a8(part, w, bias) for part in x.split(LARGEST_ROWS)])
    wide = x.float()
    step, spikes = _steps(wide)
    packed = _padded(x.shape[0], x.shape[1])
    packed[: x.shape[0]] = (wide / step).add_(_ROUNDING + _SYMMETRIC).view(torch.int32)
    # The step has few bits, so that multiplying by it in 16 bits rounds once, like any result.
    out = _multiply(packed, w, torch.bfloat16)[: x.shape[0]].mul_(step.bfloat16())
    out = _finish(out, bias, x.dtype)
    if spikes.any():
        out[spikes] = onednn(x[spikes], w, bias)
    return out


def onednn_works() -> bool:
    """Whether u8 x s8 products are summed exactly here: without VNNI some processors saturate in 16 bits."""
    try:
        weight = torch.full((16, 64), 127, dtype=torch.int8)
        held = prepack(Weights("int8-rows", 16, 64, {"weight": weight, "scale": torch.ones(16)}))
        got = _multiply(torch.full((4, 64), 255, dtype=torch.uint8), held)
        return bool((got == 64 * 127 * (255 - _SYMMETRIC)).all())
    except (RuntimeError, AttributeError):
        return False


def rows_few_works() -> bool:
    """Whether torch's weight-only kernel is there, tried on a small matrix."""
    try:
        held = Weights("int8-rows", 3, 32, {"weight": torch.ones(3, 32, dtype=torch.int8), "scale": torch.ones(3)})
        x = torch.ones(2, 32, dtype=torch.bfloat16)
        return torch.equal(rows_few(x, held, None), torch.full((2, 3), 32.0, dtype=torch.bfloat16))
    except (RuntimeError, AttributeError):
        return False


def _multiply(packed: Tensor, w: Weights, dtype: torch.dtype = torch.float32) -> Tensor:
    """(packed - 128) [R, K] times the weights, rows scaled by the weights' scales: [R, N] in `dtype`."""
    t = w.tensors
    return torch.ops.onednn.qlinear_pointwise(
        packed, 1.0, _SYMMETRIC, t["weight"], t["scale"], t["zero_points"], None, 1.0, 0, dtype, "none", [], ""
    )


def _padded(rows: int, K: int) -> Tensor:
    """Room for `rows` rows of bytes; rows added to reach `SMALLEST_ROWS` are never read back."""
    return torch.empty(max(rows, SMALLEST_ROWS), K, dtype=torch.uint8)


def _split_bytes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Bytes u8 [2T (padded), K], high ones first, and scale fp32 [T, 1] with x = scale * (256 hi + lo).

    Both zero points are put into the number, which fits 16 bits because the largest entry becomes 127 * 256.
    """
    T, K = x.shape
    wide = x.float()
    scale = _peak(wide).div_(32512).clamp_min_(1e-30)
    number = (wide / scale).add_(_ROUNDING + 257 * _SYMMETRIC).view(torch.int32)
    packed = _padded(2 * T, K)
    packed[T : 2 * T] = number
    packed[:T] = number.bitwise_right_shift_(8)
    return packed, scale


def _peak(wide: Tensor) -> Tensor:
    """The largest magnitude of each row: [T, 1]. (Of fp32: torch takes the largest of 16 bits five times slower.)"""
    return torch.maximum(wide.amax(dim=1, keepdim=True), wide.amin(dim=1, keepdim=True).neg_())


def _steps(wide: Tensor) -> tuple[Tensor, Tensor]:
    """The 8-bit step of each token of fp32 [T, K], rounded up to the 8 bits of bf16: fp32 [T, 1]; and which
    tokens have their peak far above their root mean square: bool [T]."""
    peak = _peak(wide)
    spikes = peak.flatten() * wide.shape[1] ** 0.5 > SPIKE * torch.linalg.vector_norm(wide, dim=1)
    return peak.mul_((1 + 2**-8) / 127).clamp_min_(1e-30).bfloat16().float(), spikes


def _finish(out: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    return (out if bias is None else out.add_(bias)).to(dtype)
