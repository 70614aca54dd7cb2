"""Which tokens a sequence has had, counted as they come, and the penalties that follow from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..request import SamplingParams


class TokenCounts:
    """The distinct tokens of one sequence and how often each was generated.

    Repetition penalties count prompt and generated tokens alike, as transformers and vLLM do; presence and
    frequency penalties count generated tokens only, as OpenAI does. Adding a token costs O(1).
    """

    def __init__(self, params: SamplingParams, prompt_ids: Sequence[int]) -> None:
        self._params = params
        counted = prompt_ids if params.repetition_penalty != 1.0 else ()
        seen = np.unique(np.asarray(counted, dtype=np.int64))
        self._size = len(seen)
        self._ids = np.zeros(max(64, 2 * self._size), dtype=np.int64)
        self._ids[: self._size] = seen
        self._generated = np.zeros(len(self._ids), dtype=np.float32)
        self._slots = {int(token): slot for slot, token in enumerate(seen)}

    @classmethod
    def of(cls, params: SamplingParams, prompt_ids: Sequence[int]) -> TokenCounts | None:
        """Counts for these parameters, None if they have no penalty."""
        if params.repetition_penalty == 1.0 and not (params.presence_penalty or params.frequency_penalty):
            return None
        return cls(params, prompt_ids)

    def add(self, token_id: int) -> None:
        """Takes note of one more generated token."""
        slot = self._slots.get(token_id)
        if slot is None:
            slot = self._slots[token_id] = self._size
            if slot == len(self._ids):
                self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
                self._generated = np.concatenate([self._generated, np.zeros_like(self._generated)])
            self._ids[slot] = token_id
            self._size += 1
        self._generated[slot] += 1

    def penalise(self, logits: Tensor) -> None:
        """Changes `logits` [V] in place: repetition first, then frequency and presence."""
        params = self._params
        if not self._size:
            return
        ids = torch.from_numpy(self._ids[: self._size]).to(logits.device)
        values = logits[ids]
        repetition = params.repetition_penalty
        if repetition != 1.0:
            values = torch.where(values > 0, values / repetition, values * repetition)
        if params.presence_penalty or params.frequency_penalty:
            counts = torch.from_numpy(self._generated[: self._size]).to(logits.device)
            values = values - params.frequency_penalty * counts - params.presence_penalty * (counts > 0)
        logits[ids] = values
