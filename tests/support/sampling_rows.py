"""Rows and logits to sample from, and the slow twin of the sampler: one row at a time, in float64, as the documentation
reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triptych.engine.request import SamplingParams
from triptych.engine.sampling.draw import uniform
from triptych.engine.sampling.sampler import SamplingRow

EOS = 2
# Settings of every kind, alone and together.
VARIANTS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.3, "top_k": 40},
    {"temperature": 1.0, "top_k": 1},
    {"temperature": 1.0, "top_k": 5000},
    {"temperature": 1.0, "min_p": 0.05},
    {"temperature": 0.8, "top_k": 50, "top_p": 0.8, "min_p": 0.02},
    {"temperature": 3.0, "top_p": 0.99},
    {"temperature": 40.0, "top_p": 0.97},
    {"temperature": 1e-6, "top_p": 0.5},
    {"repetition_penalty": 1.5},
    {"temperature": 1.0, "repetition_penalty": 0.7, "presence_penalty": 1.5, "frequency_penalty": -0.5},
    {"frequency_penalty": 2.0, "logit_bias": {9: 5.0, 3: -100.0}},
    {"temperature": 1.0, "logit_bias": {9: 100.0}},
    {"min_tokens": 50, "stop_token_ids": (11,), "logit_bias": {2: 100.0, 11: 99.0}},
    {"temperature": 1.0, "min_tokens": 2, "logit_bias": {2: 8.0}},
]


def logits_of(rows: int, vocab: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * scale


def row_of(
    generated: Sequence[int] = (), prompt: Sequence[int] = (1, 5, 6), seed: int = 7, index: int = 0, **params: Any
) -> SamplingRow:
    row = SamplingRow(SamplingParams(**params), prompt, seed, index)
    for token in generated:
        row.append(token)
    return row


def reference_edit(
    logits: Tensor, row: SamplingRow, prompt: Sequence[int], generated: Sequence[int], banned: Sequence[int]
) -> np.ndarray:
    params, x = row.params, logits.double().numpy().copy()
    for token in {*prompt, *generated}:
        x[token] = x[token] / params.repetition_penalty if x[token] > 0 else x[token] * params.repetition_penalty
    for token, count in Counter(generated).items():
        x[token] -= params.presence_penalty + params.frequency_penalty * count
    for token, bias in params.logit_bias.items():
        x[token] += bias
    if row.mask is not None:
        x[~row.mask.numpy()] = -np.inf
    if len(generated) < params.min_tokens:
        x[[EOS, *params.stop_token_ids]] = -np.inf
    x[list(banned)] = -np.inf
    return x


def reference_weights(x: np.ndarray, params: SamplingParams) -> np.ndarray:
    weights = np.exp((x - x.max()) / params.temperature)
    if params.top_k:
        weights[x < np.sort(x)[::-1][: params.top_k][-1]] = 0.0
    weights[weights < params.min_p * (1 - 1e-6)] = 0.0
    if params.top_p < 1:
        order = np.argsort(-weights, kind="stable")
        needed, total, last = params.top_p * weights.sum(), 0.0, 0.0
        for token in order:
            total, last = total + weights[token], weights[token]
            if total >= needed:
                break
        weights[weights < last] = 0.0
    return weights


def reference_token(x: np.ndarray, row: SamplingRow) -> int:
    if row.params.temperature == 0 or row.params.top_k == 1:
        return int(x.argmax())
    weights = reference_weights(x, row.params)
    sums = weights.cumsum()
    return int(np.searchsorted(sums, uniform(row.seed, row.index, row.position) * sums[-1], side="right"))
