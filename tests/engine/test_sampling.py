from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from triptych.engine.errors import ParameterError
from triptych.engine.request import SamplingParams, TokenLogprob
from triptych.engine.sampling.draw import (
    CANDIDATES,
    draw,
    filter_weights,
    threshold_by_buckets,
    threshold_by_sorting,
    uniform,
)
from triptych.engine.sampling.sampler import SCORE_ROWS, Sampler, SamplingRow

EOS = 2


def logits_of(rows: int, vocab: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * scale


def row_of(
    generated: Sequence[int] = (), prompt: Sequence[int] = (1, 5, 6), seed: int = 7, index: int = 0, **params: Any
) -> SamplingRow:
    row = SamplingRow(SamplingParams(**params), prompt, seed, index)
    for token in generated:
        row.append(token)
    return row


# --- the slow twin: one row at a time, in float64, as the documentation reads ---


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


@pytest.mark.parametrize("vocab", [320, 1500, 4097])
@pytest.mark.parametrize("banned", [(), (300, 301), (17,), (17, 290, *range(310, 320))])
def test_a_mixed_batch_equals_the_slow_twin_row_by_row(vocab: int, banned: tuple[int, ...]) -> None:
    banned = tuple(token if token < 300 else vocab - 320 + token for token in banned)
    sampler = Sampler(vocab, eos_ids=[EOS], banned=banned)
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        logits = logits_of(len(VARIANTS) * 2, vocab, seed)
        rows, expected = [], []
        for number, variant in enumerate(VARIANTS * 2):
            generated = torch.randint(0, vocab, (number % 7,), generator=generator).tolist() * 2
            prompt = torch.randint(0, vocab, (20,), generator=generator).tolist()
            row = row_of(generated, prompt, seed=seed * 100 + number, **variant)
            if number >= len(VARIANTS):
                row.mask = torch.rand(vocab, generator=generator) < 0.3
            x = reference_edit(logits[number], row, prompt, generated, banned)
            rows.append(row)
            expected.append(reference_token(x, row))
        assert [sampled.token_id for sampled in sampler.sample(logits, rows)] == expected


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


# --- repeatability ---


def test_the_uniform_numbers_are_stateless_uniform_and_unrelated() -> None:
    numbers = np.array([uniform(seed, index, at) for seed in range(20) for index in range(5) for at in range(100)])
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 43.8  # chi-square, 19 degrees of freedom, p = 0.001
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.03
    assert uniform(1, 0, 0) == uniform(1, 0, 0)
    assert len({uniform(-1, 0, 0), uniform(2**70, 0, 0), uniform(1, 10, 0), uniform(11, 0, 0)}) == 4


def test_the_same_seed_gives_the_same_text_whatever_else_is_in_the_batch() -> None:
    vocab = 1000
    sampler = Sampler(vocab, eos_ids=[EOS])

    def text(company: int, place: int) -> list[int]:
        row, tokens = row_of(seed=42, temperature=1.0, top_p=0.95, frequency_penalty=0.5), []
        for step in range(30):
            own = logits_of(1, vocab, seed=step)
            others = logits_of(company, vocab, seed=1000 * company + step)
            rows = [row_of(seed=at, temperature=1.5, top_k=at) for at in range(company)]
            rows.insert(place, row)
            batch = torch.cat([others[:place], own, others[place:]])
            token = sampler.sample(batch, rows)[place].token_id
            row.append(token)
            tokens.append(token)
        return tokens

    alone = text(0, 0)
    assert len(set(alone)) > 20
    assert text(3, 0) == text(3, 3) == text(12, 5) == alone


def test_a_row_built_anew_in_the_middle_goes_on_with_the_same_text() -> None:
    sampler = Sampler(500)
    params = {"temperature": 1.0, "repetition_penalty": 1.2, "presence_penalty": 0.3}
    row, tokens = row_of(seed=3, **params), []
    for step in range(20):
        row.append(sampler.sample(logits_of(1, 500, step), [row])[0].token_id)
        tokens.append(sampler.sample(logits_of(1, 500, 99 + step), [row])[0].token_id)
        row.append(tokens[-1])
    rebuilt, again = row_of(seed=3, **params), []
    for step in range(20):
        rebuilt.append(sampler.sample(logits_of(1, 500, step), [rebuilt])[0].token_id)
        again.append(sampler.sample(logits_of(1, 500, 99 + step), [rebuilt])[0].token_id)
        rebuilt.append(again[-1])
    assert again == tokens


def test_choices_of_one_request_differ() -> None:
    sampler = Sampler(500)
    rows = [row_of(seed=5, index=index, temperature=1.0) for index in range(8)]
    tokens = {sampled.token_id for sampled in sampler.sample(logits_of(1, 500, scale=1.0).repeat(8, 1), rows)}
    assert len(tokens) > 4


# --- distributions ---


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


# --- rules ---


def test_greedy_is_the_first_highest_token_and_leaves_out_the_banned() -> None:
    logits = torch.zeros(3, 40)
    logits[0, [7, 9]] = 5.0
    logits[1, 39] = 9.0
    logits[1, 3] = 8.0
    logits[2, 5] = 9.0
    logits[2, 6] = 8.0
    sampler = Sampler(40, banned=[5, *range(32, 40)])
    assert [sampled.token_id for sampled in sampler.sample(logits, [row_of() for _ in range(3)])] == [7, 3, 6]


def test_min_tokens_holds_back_every_end_and_ignore_eos_does_not_mind_eos() -> None:
    logits = torch.zeros(1, 20)
    logits[0, EOS], logits[0, 8], logits[0, 3] = 9.0, 8.0, 7.0

    def token(generated: Sequence[int], **params: Any) -> int:
        return sampler.sample(logits.clone(), [row_of(generated, **params)])[0].token_id

    sampler = Sampler(20, eos_ids=[EOS])
    assert token((), min_tokens=2, stop_token_ids=(8,)) == 3
    assert token((3,), min_tokens=2, stop_token_ids=(8,)) == 3
    assert token((3, 3), min_tokens=2, stop_token_ids=(8,)) == EOS
    assert token((), min_tokens=2, ignore_eos=True) == EOS


def test_where_a_grammar_allows_only_the_end_it_wins_over_min_tokens() -> None:
    sampler = Sampler(20, eos_ids=[EOS])
    row = row_of(min_tokens=5)
    row.mask = torch.zeros(20, dtype=torch.bool)
    row.mask[EOS] = True
    assert sampler.sample(torch.zeros(1, 20), [row])[0].token_id == EOS
    row.mask[4] = True
    assert sampler.sample(torch.zeros(1, 20), [row])[0].token_id == 4


def test_repetition_counts_the_prompt_and_presence_does_not() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.9, -1.0]])
    sampler = Sampler(4)

    def token(**params: Any) -> int:
        return sampler.sample(logits.clone(), [row_of(prompt=(1,), **params)])[0].token_id

    assert token(repetition_penalty=1.1) == 2
    assert token(presence_penalty=2.0) == 1
    assert token(presence_penalty=2.0, generated=(1,)) == 2
    assert token(frequency_penalty=0.04, generated=(1, 1)) == 1
    assert token(frequency_penalty=0.04, generated=(1, 1, 1)) == 2


def test_many_generated_tokens_are_counted_as_they_come() -> None:
    generated = torch.randint(0, 300, (1000,), generator=torch.Generator().manual_seed(0)).tolist()
    row = row_of(generated, prompt=range(50), repetition_penalty=1.2, presence_penalty=0.5, frequency_penalty=0.01)
    logits = logits_of(1, 300)
    expected = reference_edit(logits[0], row, range(50), generated, ())
    row.edit(logits[0], ())
    np.testing.assert_allclose(logits[0].numpy(), expected, rtol=1e-4, atol=1e-4)


def test_token_ids_outside_the_vocabulary_are_refused() -> None:
    Sampler(100).check(SamplingParams(logit_bias={99: 1.0}, stop_token_ids=(0,)))
    with pytest.raises(ParameterError, match=r"logit_bias has token id 100, but .* 0 to 99") as caught:
        Sampler(100).check(SamplingParams(logit_bias={100: 1.0}))
    assert caught.value.name == "logit_bias"
    with pytest.raises(ParameterError, match="stop_token_ids has token id 7"):
        Sampler(7).check(SamplingParams(stop_token_ids=(7,)))


def test_logits_that_are_not_numbers_do_not_crash_the_batch() -> None:
    logits = logits_of(4, 200)
    logits[0] = torch.nan
    logits[1] = torch.nan
    rows = [row_of(), row_of(temperature=1.0, top_p=0.9), row_of(temperature=1.0, top_p=0.9), row_of()]
    tokens = [sampled.token_id for sampled in Sampler(200).sample(logits.clone(), rows)]
    assert all(0 <= token < 200 for token in tokens)
    assert tokens[2:] == [sampled.token_id for sampled in Sampler(200).sample(logits[2:].clone(), rows[2:])]


# --- log-probabilities ---


def check_logprob(found: TokenLogprob, logits: Tensor, top: int, banned: Sequence[int] = ()) -> None:
    logs = logits.double().log_softmax(-1)
    assert found.logprob == pytest.approx(float(logs[found.token_id]), abs=1e-5)
    live = logs.clone()
    live[list(banned)] = -math.inf
    assert found.rank == 1 + int((live > logs[found.token_id]).sum())
    values, ids = live.topk(top)
    assert [token for token, _ in found.top] == ids.tolist()
    assert [value for _, value in found.top] == pytest.approx(values.tolist(), abs=1e-5)


def test_logprobs_are_the_models_own_before_temperature_and_penalties() -> None:
    banned = (17, 198, 199)
    sampler = Sampler(200, banned=banned)
    logits = logits_of(5, 200)
    rows = [
        row_of(logprobs=0),
        row_of(logprobs=5, temperature=2.0, top_k=30),
        row_of(),
        row_of((3, 4), logprobs=20, repetition_penalty=3.0, logit_bias={9: 50.0}),
        row_of(temperature=1.0),
    ]
    sampled = sampler.sample(logits.clone(), rows)
    assert sampled[2].logprob is None
    assert sampled[4].logprob is None
    assert sampled[3].token_id == 9
    for at, top in ((0, 0), (1, 5), (3, 20)):
        found = sampled[at].logprob
        assert found is not None
        assert found.token_id == sampled[at].token_id
        assert len(found.top) == top
        check_logprob(found, logits[at], top, banned)


@pytest.mark.parametrize("length", [1, SCORE_ROWS, SCORE_ROWS * 2 + 5])
def test_prompts_are_scored_in_parts(length: int) -> None:
    hidden = logits_of(length, 16)
    weight = logits_of(16, 90, seed=5, scale=0.3)
    targets = torch.randint(0, 90, (length,), generator=torch.Generator().manual_seed(1)).tolist()
    sizes: list[int] = []

    def head(part: Tensor) -> Tensor:
        sizes.append(len(part))
        return part @ weight

    scores = Sampler(90).score(head, hidden, targets, 3)
    assert max(sizes) <= SCORE_ROWS
    assert [score.token_id for score in scores] == targets
    for score, logits in zip(scores, hidden @ weight, strict=True):
        check_logprob(score, logits, 3)


def test_scoring_nothing_gives_nothing() -> None:
    assert Sampler(9).score(lambda hidden: hidden, torch.zeros(0, 9), [], 2) == []


def test_a_vocabulary_without_anything_to_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="banned"):
        Sampler(3, banned=[0, 1, 2])


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_each_device_samples_the_same_tokens(device: str) -> None:
    logits = logits_of(len(VARIANTS), 3000, scale=2.0)
    rows = [row_of((4, 4, 5), seed=at, logprobs=2, **variant) for at, variant in enumerate(VARIANTS)]
    expected = Sampler(3000, eos_ids=[EOS], banned=[9, 2999]).sample(logits.clone(), rows)
    rows = [row_of((4, 4, 5), seed=at, logprobs=2, **variant) for at, variant in enumerate(VARIANTS)]
    sampler = Sampler(3000, eos_ids=[EOS], banned=[9, 2999])
    found = sampler.sample(logits.to(device), rows)
    assert [sampled.token_id for sampled in found] == [sampled.token_id for sampled in expected]
