from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sampling_rows import VARIANTS, logits_of, reference_edit, reference_weights, row_of

from triptych.engine.request import SamplingParams
from triptych.engine.sampling.draw import (
    CANDIDATES,
    draw,
    filter_weights,
    threshold_by_buckets,
    threshold_by_sorting,
    uniform,
)
from triptych.engine.sampling.sampler import Sampler


def test_filters_keep_the_same_tokens_as_the_slow_twin() -> None:
    variants = [SamplingParams(**variant) for variant in VARIANTS if variant.get("temperature", 0) > 0]
    for scale in (0.01, 1.0, 6.0):
        logits = logits_of(len(variants), 2000, seed=3, scale=scale)
        weights = filter_weights(logits, variants)
        for row, params in enumerate(variants):
            expected = reference_weights(logits[row].double().numpy(), params)
            np.testing.assert_allclose(weights[row].numpy(), expected, rtol=1e-4, atol=1e-30)


def test_top_p_reads_on_until_it_has_enough_candidates() -> None:
    flat = torch.zeros(3, 3000)
    flat[:, 0] = 1.0
    flat += torch.arange(3000) * -1e-5  # no ties
    kept = (filter_weights(flat, [SamplingParams(temperature=1.0, top_p=p) for p in (0.001, 0.1, 0.9)]) > 0).sum(-1)
    assert kept[0] < CANDIDATES < kept[1] < kept[2] < 3000


@pytest.mark.parametrize("scale", [0.0, 1e-3, 0.3, 2.0, 30.0])
def test_thresholds_by_buckets_equal_those_by_sorting(scale: float) -> None:
    weights = logits_of(40, 2500, seed=1, scale=scale).sub(scale * 3).clamp(max=0.0).exp()
    weights[::3, 100:] = 0.0
    parts = torch.tensor([uniform(0, 0, row) for row in range(40)], dtype=torch.float64)
    needed = weights.sum(-1, dtype=torch.float64) * parts
    assert torch.equal(threshold_by_buckets(weights, needed), threshold_by_sorting(weights, needed))
    whole = weights.sum(-1, dtype=torch.float64)
    for threshold in (threshold_by_buckets, threshold_by_sorting):
        assert (threshold(weights, whole * 1.001) <= weights.amin(-1, keepdim=True)).all()


def test_ties_with_the_last_kept_token_are_kept() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0]])
    for params in ({"top_k": 2}, {"top_p": 0.3}, {"min_p": 1.0}):
        kept = filter_weights(logits.clone(), [SamplingParams(temperature=1.0, **params)])[0] > 0
        assert kept.tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 1.0},
        {"temperature": 0.5},
        {"temperature": 1.0, "top_k": 5},
        {"temperature": 1.0, "top_p": 0.8},
        {"temperature": 2.0, "min_p": 0.2},
        {"temperature": 1.0, "presence_penalty": 1.0, "logit_bias": {3: 1.0}},
    ],
)
def test_draws_follow_the_distribution(params: dict[str, Any]) -> None:
    vocab, draws = 12, 6000
    logits = logits_of(1, vocab, seed=11, scale=1.0)
    sampler = Sampler(vocab)
    rows = [row_of((4, 4), seed=seed, **params) for seed in range(draws)]
    tokens = [sampled.token_id for sampled in sampler.sample(logits.repeat(draws, 1), rows)]
    x = reference_edit(logits[0], rows[0], (), (4, 4), ())
    weights = reference_weights(x, rows[0].params)
    expected = draws * weights / weights.sum()
    counts = np.bincount(tokens, minlength=vocab)
    assert not counts[expected == 0].any()
    live = expected > 0
    chi_square = ((counts - expected)[live] ** 2 / expected[live]).sum()
    assert chi_square < 31.3  # 11 degrees of freedom at most, p = 0.001


def test_the_draw_meets_the_edges_of_the_unit_interval() -> None:
    weights = torch.zeros(4, 700)
    weights[:, [3, 200, 650]] = torch.tensor([1.0, 2.0, 1.0])
    almost_one = 1.0 - 2.0**-53
    assert draw(weights, [0.0, 0.25, 0.7499999, almost_one]).tolist() == [3, 200, 200, 650]
    single = torch.zeros(2, 5)
    single[:, 4] = 1e-30
    assert draw(single, [0.0, almost_one]).tolist() == [4, 4]


def test_no_token_of_weight_zero_is_ever_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(400, 1000, generator=generator) ** 8 * (torch.rand(400, 1000, generator=generator) < 0.02)
    weights[:, 500] = 1e-20
    for shift in range(5):
        tokens = draw(weights, [uniform(shift, 0, row) for row in range(400)])
        assert (weights.gather(1, tokens[:, None]) > 0).all()
