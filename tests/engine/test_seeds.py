from __future__ import annotations

import numpy as np
import torch
from sampling_rows import EOS, logits_of, row_of

from triptych.engine.sampling.draw import uniform
from triptych.engine.sampling.sampler import Sampler


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
