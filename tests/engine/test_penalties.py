from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sampling_rows import logits_of, reference_edit, row_of

from triptych.engine.sampling.sampler import Sampler


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
