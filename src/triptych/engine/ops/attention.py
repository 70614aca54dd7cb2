"""Causal attention of a step's rows over a paged cache.

How a row is computed depends on what it is: a fresh prompt attends to itself and never reads the cache; a chunk
after a prefix and a single long row read their context where it lies; many short rows are gathered into a batch.
`attention_slow` is the one general way, in plain torch; tests compare the others with it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .attention_plan import AttentionPlan, DecodeGroup, DecodeRow, FreshRows, PrefixedRow
from .kv import KVCache

__all__ = ["AttentionPlan", "KVCache", "attention", "attention_slow"]

# A chunk of at most this many tokens is computed per group of query heads, as single tokens are.
SHORT_CHUNK = 16


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
    """Store `k`, `v` [T, Hkv, D] in their slots, then attend `q` [T, Hq, D] causally over each row's context.

    Query head h uses key head h // (Hq // Hkv). `window` limits each token to itself and the `window - 1`
    tokens before it. Returns [T, Hq, D].
    """
    if window is not None and attn.longest > window:
        return attention_slow(q, k, v, cache_k, cache_v, attn, window=window)
    _store(k, cache_k, attn)
    _store(v, cache_v, attn)
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    for fresh in attn.fresh:
        _fresh(q, k, v, fresh, out)
    for prefixed in attn.prefixed:
        _prefixed(q, cache_k, cache_v, prefixed, out)
    for row in attn.decode:
        _decode(q, cache_k, cache_v, row, out)
    for group in attn.groups:
        _decode_group(q, cache_k, cache_v, group, attn.block_size, out)
    return out


def attention_slow(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cache_k: Tensor,
    cache_v: Tensor,
    attn: AttentionPlan,
    *,
    window: int | None = None,
) -> Tensor:
    """The same, one row at a time, by the formula, in fp32."""
    cache_k[attn.slots] = k
    cache_v[attn.slots] = v
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    share = q.shape[1] // k.shape[1]
    for start, length, context in attn.rows:
        keys = cache_k[context.slots].float().repeat_interleave(share, dim=1)
        values = cache_v[context.slots].float().repeat_interleave(share, dim=1)
        scores = torch.einsum("thd,chd->htc", q[start : start + length].float(), keys) * q.shape[-1] ** -0.5
        position = torch.arange(len(context.slots), device=q.device)
        query = position[len(position) - length :, None]
        hidden = position > query
        if window is not None:
            hidden |= position <= query - window
        weights = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1)
        out[start : start + length] = torch.einsum("htc,chd->thd", weights, values).to(q.dtype)
    return out


def _store(new: Tensor, cache: Tensor, attn: AttentionPlan) -> None:
    if attn.first_slot is not None:
        cache[attn.first_slot : attn.first_slot + len(new)] = new
    else:
        cache.index_copy_(0, attn.slots, new)


def _fresh(q: Tensor, k: Tensor, v: Tensor, rows: FreshRows, out: Tensor) -> None:
    """The published models' own operation, on what was just computed."""
    stop = rows.start + rows.count * rows.length
    # [T, heads, D] -> [rows, heads, length, D]
    q, k, v = (x[rows.start : stop].unflatten(0, (rows.count, rows.length)).transpose(1, 2) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
    out[rows.start : stop] = mixed.transpose(1, 2).flatten(0, 1)


def _prefixed(q: Tensor, cache_k: Tensor, cache_v: Tensor, row: PrefixedRow, out: Tensor) -> None:
    keys, values = row.context.read(cache_k), row.context.read(cache_v)
    span = slice(row.start, row.start + row.length)
    heads, kv_heads = q.shape[1], keys.shape[1]
    share = heads // kv_heads if row.length <= SHORT_CHUNK else 1
    # [length, heads, D] -> [heads / share, share * length, D]: heads that share keys become more queries
    query = q[span].unflatten(1, (heads // share, share)).permute(1, 2, 0, 3).flatten(1, 2)
    mask = row.mask.repeat(share, 1) if share > 1 else row.mask
    mixed = F.scaled_dot_product_attention(
        query[None],
        keys.transpose(0, 1)[None],
        values.transpose(0, 1)[None],
        attn_mask=mask,
        enable_gqa=query.shape[0] != kv_heads,
    )[0]
    mixed = mixed.unflatten(1, (share, row.length)).permute(2, 0, 1, 3)
    out[span] = mixed.reshape(row.length, heads, -1)


def _attend_few(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """`query` [R, Hkv, share, D] over `keys`, `values` [R, Hkv, context, D].

    A single query in 16 bits is asked twice on the CPU: torch multiplies one row six times slower than two.
    """
    alone = query.shape[2] == 1 and query.dtype != torch.float32 and query.device.type == "cpu"
    if alone:
        query = query.expand(-1, -1, 2, -1)
    mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    return mixed[:, :, :1] if alone else mixed


def _decode(q: Tensor, cache_k: Tensor, cache_v: Tensor, row: DecodeRow, out: Tensor) -> None:
    """Query heads that share a key head become its queries, so that each key and value is read once."""
    keys, values = row.context.read(cache_k), row.context.read(cache_v)
    query = q[row.start].unflatten(0, (keys.shape[1], -1))
    mixed = _attend_few(query[None], keys.transpose(0, 1)[None], values.transpose(0, 1)[None])
    out[row.start] = mixed[0].flatten(0, 1)


def _decode_group(
    q: Tensor, cache_k: Tensor, cache_v: Tensor, group: DecodeGroup, block_size: int, out: Tensor
) -> None:
    R, kv_heads = len(group.starts), cache_k.shape[1]
    query = q.index_select(0, group.starts).unflatten(1, (kv_heads, -1))
    keys, values = (
        # [slots, Hkv, D] -> [R, Hkv, context, D], whole blocks at a time
        cache.unflatten(0, (-1, block_size)).index_select(0, group.blocks).view(R, -1, *cache.shape[1:]).transpose(1, 2)
        for cache in (cache_k, cache_v)
    )
    mixed = _attend_few(query, keys, values, group.mask)
    out.index_copy_(0, group.starts, mixed.flatten(1, 2))
