from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from sampling_rows import logits_of, row_of
from torch import Tensor

from triptych.engine.request import TokenLogprob
from triptych.engine.sampling.sampler import SCORE_ROWS, Sampler


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
