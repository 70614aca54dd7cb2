"""Runs a loaded model step by step without the engine: what parity tests compare with transformers."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.engine.checkpoints.loader import Model
from triptych.engine.ops.attention import AttentionPlan, KVCache
from triptych.engine.plan import Row, StepPlan
from triptych.engine.request import Prompt, Request
from triptych.engine.sequence import Sequence

BLOCK = 16


class Stepper:
    """Sequences by number, each with blocks of its own; `step` computes some tokens of some of them."""

    def __init__(self, model: Model, sequences: int = 1, context: int = 512) -> None:
        text = model.config.text
        self.model = model
        self._blocks = -(-context // BLOCK)
        self.cache = KVCache(
            text.layers, sequences * self._blocks * BLOCK, text.kv_heads, text.head_dim, model.dtype, "cpu"
        )
        self.sequences = [
            Sequence(Request(str(number), Prompt((0,))), block_table=self._table(number, sequences))
            for number in range(sequences)
        ]

    def _table(self, number: int, sequences: int) -> list[int]:
        # Interleaved and backwards, so that nothing works by blocks lying in order.
        return [number + sequences * block for block in reversed(range(self._blocks))]

    def plan(self, work: dict[int, int]) -> StepPlan:
        """A plan that computes the next `work[number]` tokens of each sequence."""
        plan = StepPlan()
        for number, length in work.items():
            sequence = self.sequences[number]
            start = len(plan.slots)
            for position in range(sequence.computed, sequence.computed + length):
                plan.positions.append(position)
                plan.slots.append(sequence.block_table[position // BLOCK] * BLOCK + position % BLOCK)
            sequence.computed += length
            plan.rows.append(Row(sequence, start, length, sequence.computed, True))
        return plan

    @torch.inference_mode()
    def step(self, work: dict[int, Tensor], keep: Tensor | None = None) -> Tensor:
        """Logits [T, V] (or of the `keep` rows) of token ids [t] or embeddings [t, H] per sequence."""
        decoder = self.model.decoder
        inputs = [decoder.embed(part) if part.dim() == 1 else part for part in work.values()]
        plan = self.plan({number: len(part) for number, part in work.items()})
        attn = AttentionPlan.build(plan, "cpu", BLOCK)
        positions = torch.tensor(plan.positions)
        return decoder.logits(decoder.forward(torch.cat(inputs), positions, self.cache, attn, keep))

    def greedy(self, prompt: Tensor, count: int) -> list[int]:
        """`count` tokens after `prompt` (ids [t] or embeddings [t, H]), the most likely one each time."""
        tokens = [int(self.step({0: prompt})[-1].argmax())]
        while len(tokens) < count:
            tokens.append(int(self.step({0: torch.tensor(tokens[-1:])})[-1].argmax()))
        return tokens
