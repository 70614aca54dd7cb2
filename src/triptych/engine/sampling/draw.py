"""From logits to one random token per row: temperature, top-k, min-p, top-p, and a repeatable draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from ..request import SamplingParams

# Top-p looks at this many of the most probable tokens first and at all only in rows that need more.
CANDIDATES = 64
BLOCK = 128


def uniform(seed: int, index: int, position: int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments: a counter-based generator.

    `seed` may be any integer, `index` is the choice of the request, `position` the number of tokens before.
    """
    digest = blake2b(f"{seed}/{index}/{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def filter_weights(logits: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """Unnormalised probabilities [R, V] after temperature, top-k, min-p and top-p; dropped tokens have 0.

    Each filter is a threshold, so tokens that tie with the last one kept are kept as well: the
    result does not depend on any order of equal logits.
    """
    device = logits.device
    temperature = torch.tensor([p.temperature for p in params], device=device)[:, None]
    best = logits.amax(-1, keepdim=True)
    weights = (logits - best).div_(temperature).exp_()
    threshold = _min_p_threshold(best, temperature, params)
    top_k = [p.top_k if p.top_k < logits.shape[-1] else 0 for p in params]
    if any(top_k):
        threshold = _top_k_threshold(logits, top_k, threshold)
    if threshold is not None:
        weights.masked_fill_(logits < threshold, 0.0)
    if any(p.top_p < 1.0 for p in params):
        weights.masked_fill_(weights < _top_p_threshold(weights, [p.top_p for p in params]), 0.0)
    return weights


def _min_p_threshold(best: Tensor, temperature: Tensor, params: Sequence[SamplingParams]) -> Tensor | None:
    """Logits [R, 1] at which a token has min_p times the probability of the best one."""
    if not any(p.min_p for p in params):
        return None
    logs = [math.log(p.min_p) if p.min_p else -math.inf for p in params]
    return best + temperature * torch.tensor(logs, device=best.device)[:, None]


def _top_k_threshold(logits: Tensor, top_k: list[int], threshold: Tensor | None) -> Tensor:
    """The higher of `threshold` and the k-th highest logit of each row; k = 0 is off."""
    ordered = logits.topk(max(top_k), dim=-1).values
    last = torch.tensor([max(k, 1) - 1 for k in top_k], device=logits.device)[:, None]
    off = torch.tensor([k == 0 for k in top_k], device=logits.device)[:, None]
    kth = ordered.gather(1, last).masked_fill(off, -torch.inf)
    return kth if threshold is None else torch.maximum(kth, threshold)


def _top_p_threshold(weights: Tensor, top_p: list[float]) -> Tensor:
    """The weight [R, 1] of the last token needed to reach top_p of the row's whole, 0 where top_p is 1.

    Counts the most probable tokens first.
    """
    device, vocab = weights.device, weights.shape[-1]
    threshold = torch.zeros((len(top_p), 1), device=device)
    needed = weights.sum(-1, dtype=torch.float64) * torch.tensor(top_p, dtype=torch.float64, device=device)
    rows = torch.tensor([row for row, p in enumerate(top_p) if p < 1.0], device=device)
    if vocab > CANDIDATES:
        part = weights if len(rows) == len(weights) else weights[rows]
        best = part.topk(CANDIDATES, dim=-1).values
        threshold[rows], reached = _weight_at(best, needed[rows])
        rows = rows[~reached]
    if len(rows):
        exact = threshold_by_buckets if device.type == "cpu" else threshold_by_sorting
        threshold[rows] = exact(weights[rows], needed[rows])
    return threshold


def _weight_at(ordered: Tensor, needed: Tensor) -> tuple[Tensor, Tensor]:
    """In rows of descending weights [R, C]: the one that completes `needed` [R], and whether there is one."""
    count = torch.searchsorted(ordered.cumsum(-1, dtype=torch.float64), needed[:, None])
    last = ordered.shape[-1] - 1
    return ordered.gather(1, count.clamp(max=last)), count[:, 0] <= last


def threshold_by_sorting(weights: Tensor, needed: Tensor) -> Tensor:
    """The weight [R, 1] that completes `needed` [R] when the highest weights of [R, V] are added up first."""
    return _weight_at(weights.sort(dim=-1, descending=True).values, needed)[0]


def threshold_by_buckets(weights: Tensor, needed: Tensor) -> Tensor:
    """The same, faster on the CPU: only the weights near the threshold are sorted.

    The upper half of a float32's bits orders non-negative numbers into buckets.
    """
    found = []
    for row, goal in zip(weights.numpy(), needed.tolist(), strict=True):
        keys = row.view(np.uint32) >> 16
        mass = np.bincount(keys, weights=row)[::-1].cumsum()
        place = min(int(np.searchsorted(mass, goal)), len(mass) - 1)
        near = np.sort(row[keys == len(mass) - 1 - place])[::-1]
        above = mass[place - 1] if place else 0.0
        count = np.searchsorted(near.cumsum(dtype=np.float64) + above, goal)
        found.append(near[min(int(count), len(near) - 1)] if len(near) else 0.0)
    return torch.tensor(np.array(found, dtype=np.float32), device=weights.device)[:, None]


def draw(weights: Tensor, numbers: Sequence[float]) -> Tensor:
    """The token [R] at which the running sum of `weights` [R, V], in the order of ids, passes its number.

    `numbers` [R] are parts of the row's whole, in [0, 1).

    Sums are in float64 over blocks of 128 ids and then inside one block, which is a fixed order for a row
    whatever the other rows are. A token of weight 0 is never drawn.
    """
    rows, vocab = weights.shape
    if vocab % BLOCK:
        weights = torch.nn.functional.pad(weights, (0, BLOCK - vocab % BLOCK))
    blocks = weights.reshape(rows, -1, BLOCK)
    mass = blocks.sum(-1).double()
    edges = mass.cumsum(-1)
    target = torch.tensor(numbers, dtype=torch.float64, device=weights.device)[:, None] * edges[:, -1:]
    block = _first_above(edges, target)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, BLOCK))[:, 0].double().cumsum(-1)
    rest = (target - edges.gather(1, block) + mass.gather(1, block)).clamp(min=0.0)
    return (block * BLOCK + _first_above(inside, rest))[:, 0].clamp(max=vocab - 1)


def _first_above(sums: Tensor, target: Tensor) -> Tensor:
    """Where each row of running `sums` first exceeds `target`, at most where it reaches its end: [R, 1]."""
    place = torch.searchsorted(sums, target, right=True)
    end = torch.searchsorted(sums, sums[:, -1:].contiguous())
    return torch.minimum(place, end).clamp(max=sums.shape[-1] - 1)
