from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from sampling_rows import EOS, VARIANTS, logits_of, reference_edit, reference_token, row_of

from triptych.engine.errors import ParameterError
from triptych.engine.request import SamplingParams
from triptych.engine.sampling.sampler import Sampler


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


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_each_device_samples_the_same_tokens(device: str) -> None:
    logits = logits_of(len(VARIANTS), 3000, scale=2.0)
    rows = [row_of((4, 4, 5), seed=at, logprobs=2, **variant) for at, variant in enumerate(VARIANTS)]
    expected = Sampler(3000, eos_ids=[EOS], banned=[9, 2999]).sample(logits.clone(), rows)
    rows = [row_of((4, 4, 5), seed=at, logprobs=2, **variant) for at, variant in enumerate(VARIANTS)]
    sampler = Sampler(3000, eos_ids=[EOS], banned=[9, 2999])
    found = sampler.sample(logits.to(device), rows)
    assert [sampled.token_id for sampled in found] == [sampled.token_id for sampled in expected]


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


def test_token_ids_outside_the_vocabulary_are_refused() -> None:
    Sampler(100).check(SamplingParams(logit_bias={99: 1.0}, stop_token_ids=(0,)))
    with pytest.raises(ParameterError, match=r"logit_bias has token id 100, but .* 0 to 99") as caught:
        Sampler(100).check(SamplingParams(logit_bias={100: 1.0}))
    assert caught.value.name == "logit_bias"
    with pytest.raises(ParameterError, match="stop_token_ids has token id 7"):
        Sampler(7).check(SamplingParams(stop_token_ids=(7,)))


def test_a_vocabulary_without_anything_to_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="banned"):
        Sampler(3, banned=[0, 1, 2])


def test_logits_that_are_not_numbers_do_not_crash_the_batch() -> None:
    logits = logits_of(4, 200)
    logits[0] = torch.nan
    logits[1] = torch.nan
    rows = [row_of(), row_of(temperature=1.0, top_p=0.9), row_of(temperature=1.0, top_p=0.9), row_of()]
    tokens = [sampled.token_id for sampled in Sampler(200).sample(logits.clone(), rows)]
    assert all(0 <= token < 200 for token in tokens)
    assert tokens[2:] == [sampled.token_id for sampled in Sampler(200).sample(logits[2:].clone(), rows[2:])]
