"""Linear kernels for int4 weights in groups along K: w[n, k] = scale[g, n] * (q[n, k] - 8) + zero[g, n].

int4-rows   {"weight": uint8 [N, K/2], "scale_zero": bf16 [K/group, N, 2]}. Any device. A row's first half is in
            the low four bits, its second half in the high ones.
int4-tiles  {"weight": uint8 [N, K/2] as torch packs it for this processor, "scale_zero": the same}. CPU.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .packed import Weights, row_blocks

# torch's kernel reads all weights once per four rows; beyond this, decoding them into a scratch is cheaper.
MOST_TILE_ROWS = 48
# Rows that torch interleaves in one tile, with the widest vectors and with those of half their width.
_TILES = (64, 32)
# Ranges tried for each group, as a share of its full one: clipping the extremes can lower the squared error.
SHRINK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)


def group_for(K: int) -> int | None:
    """The group size for rows of K weights; None: int4 does not fit them. Narrow rows get finer groups."""
    if K % 64 == 0 and K >= 1024:
        return 64
    return 32 if K % 32 == 0 else None


def quantise(weight: Tensor, group: int, device: torch.device | str) -> Weights:
    """Round `weight` [N, K] to `int4-rows`, choosing the range of each group with the least squared error."""
    N, K = weight.shape
    packed = torch.empty(N, K // 2, dtype=torch.uint8, device=device)
    scale_zero = torch.empty(K // group, N, 2, dtype=torch.bfloat16, device=device)
    for start, stop in row_blocks(N, K, 4):
        block = weight[start:stop].to(device=device, dtype=torch.float32).view(stop - start, -1, group)
        q, scale, zero = _fit(block)
        flat = q.view(stop - start, K)
        packed[start:stop] = flat[:, : K // 2] | (flat[:, K // 2 :] << 4)
        scale_zero[:, start:stop, 0], scale_zero[:, start:stop, 1] = scale.t(), zero.t()
    return Weights("int4-rows", N, K, {"weight": packed, "scale_zero": scale_zero})


def _fit(block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(q uint8 [n, G, group], scale bf16 [n, G], zero bf16 [n, G]) for fp32 `block` [n, G, group]."""
    low, high = block.aminmax(dim=2)
    least = torch.full_like(low, torch.inf)
    scale, zero = torch.empty_like(low), torch.empty_like(low)
    for shrink in SHRINK:
        # Rounded to bf16 before use, so that the error is that of the numbers that are kept.
        step = ((high - low) * (shrink / 15)).clamp_min_(1e-30).bfloat16().float()
        middle = (low * shrink + 8 * step).bfloat16().float()
        steps = _in_steps(block, step, middle)
        error = steps.sub_(steps.round().clamp_(-8, 7)).square_().sum(dim=2).mul_(step.square())
        better = error < least
        least = torch.where(better, error, least)
        scale, zero = torch.where(better, step, scale), torch.where(better, middle, zero)
    q = _in_steps(block, scale, zero).round_().add_(8).clamp_(0, 15)
    return q.to(torch.uint8), scale.bfloat16(), zero.bfloat16()


def _in_steps(block: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """How many steps of `scale` each number of a group is from `zero`: [n, G, group]."""
    return (block - zero[..., None]).div_(scale[..., None])


def unpack_rows(w: Weights, start: int, stop: int) -> Tensor:
    """q uint8 [stop - start, K] of an `int4-rows` matrix."""
    bytes_ = w.tensors["weight"][start:stop]
    return torch.cat((bytes_ & 15, bytes_ >> 4), dim=1)


def tile(weights: Weights) -> Weights:
    """The `int4-rows` matrix as torch's CPU kernel wants it. N must be a multiple of 16."""
    q = unpack_rows(weights, 0, weights.N).to(torch.int32)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q, 1)
    tensors = {"weight": packed, "scale_zero": weights.tensors["scale_zero"]}
    return Weights("int4-tiles", weights.N, weights.K, tensors)


def rows(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    """Plain torch: decode a block of rows into the compute type, multiply, go on."""
    scale_zero = w.tensors["scale_zero"]
    out = x.new_empty(x.shape[0], w.N)
    for start, stop in row_blocks(w.N, w.K, x.element_size()):
        q = unpack_rows(w, start, stop).to(x.dtype).view(stop - start, scale_zero.shape[0], -1)
        scale = scale_zero[:, start:stop, 0].t().to(x.dtype)[..., None]
        zero = scale_zero[:, start:stop, 1].t().to(x.dtype)[..., None]
        torch.addcmul(zero, q.sub_(8), scale, out=q)
        out[:, start:stop] = F.linear(x, q.view(stop - start, w.K))
    return out if bias is None else out.add_(bias)


def tiles_few(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    """torch's own kernel for few rows: weights are looked up in fp32 while they are multiplied."""
    scale_zero = w.tensors["scale_zero"]
    group = w.K // scale_zero.shape[0]
    out = torch.ops.aten._weight_int4pack_mm_for_cpu(x.bfloat16().contiguous(), w.tensors["weight"], group, scale_zero)
    return _finish(out, bias, x.dtype)


def tiles_many(x: Tensor, w: Weights, bias: Tensor | None) -> Tensor:
    """Decode blocks of tiles into a scratch of the compute type, multiply there. N must be a multiple of
    `tile_rows`.
    """
    size = tile_rows()
    groups, half = w.tensors["scale_zero"].shape[0], size // 2
    packed = w.tensors["weight"].view(w.N // size, w.K, half)
    scale_zero = w.tensors["scale_zero"].view(groups, w.N // size, 2, half, 2)
    out = x.new_empty(x.shape[0], w.N // size, 2, half)
    for start, stop in row_blocks(w.N, w.K, x.element_size(), multiple=size):
        tiles = slice(start // size, stop // size)
        for side, q in enumerate(_decode(packed[tiles])):
            block = q.to(x.dtype).view(groups, -1, q.shape[1])
            # Neighbouring numbers must lie side by side: torch multiplies by strided ones eight times slower.
            scale, zero = (part.reshape(groups, 1, -1).to(x.dtype) for part in scale_zero[:, tiles, side].unbind(-1))
            torch.addcmul(zero, block, scale, out=block)
            out[:, tiles, side] = (x @ block.view(w.K, -1)).unflatten(1, (-1, half))
    return _finish(out.view(-1, w.N), bias, x.dtype)


def _decode(packed: Tensor) -> tuple[Tensor, Tensor]:
    """(q - 8) in int8 of `packed` [tiles, K, rows / 2]: the first and the second half of each tile's rows.

    Both are [K, tiles * rows / 2]. Bytes are moved in eights and masked in fours, as torch does bytes one by one.
    """
    by_column = packed.view(torch.int64).transpose(0, 1).reshape(packed.shape[1], -1).view(torch.int32)
    low = by_column & 0x0F0F0F0F
    high = (by_column >> 4).bitwise_and_(0x0F0F0F0F)
    return low.view(torch.int8).sub_(8), high.view(torch.int8).sub_(8)


def _finish(out: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    return (out if bias is None else out.add_(bias)).to(dtype)


@lru_cache(maxsize=1)
def tile_rows() -> int:
    """Rows in a tile of torch's int4 kernel on this processor, if it is there and packs as `tiles_many` decodes: tried
    on a small matrix. 0: it is not, or does not.
    """
    return next((size for size in _TILES if _packs(size)), 0)


def _packs(size: int) -> bool:
    try:
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(2 * size, 64, generator=generator)
        held = quantise(weight, 32, "cpu")
        tiled = tile(held)
        halves = _decode(tiled.tensors["weight"].view(2, 64, size // 2))
        q = torch.stack([half.t().reshape(2, size // 2, 64) for half in halves], dim=1).view(2 * size, 64)
        x = torch.randn(1, 64, generator=generator)
        near = torch.allclose(tiles_few(x, tiled, None), rows(x, held, None), atol=0.3, rtol=0.05)
        return near and torch.equal(q + 8, unpack_rows(held, 0, 2 * size).char())
    except (RuntimeError, AttributeError):
        return False
