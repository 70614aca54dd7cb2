"""Executes a StepPlan: encode images, embed, paste, decode, and logits for the rows that need them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .config import BLOCK_SIZE
from .embeddings import EmbeddingCache
from .errors import ImageError
from .imaging.pixels import PixelStore
from .ops.attention import AttentionPlan, KVCache
from .plan import Row, StepPlan
from .request import ImageSpan

if TYPE_CHECKING:
    from .checkpoints.loader import Model
    from .imaging.preprocess import Preprocessor


@dataclass(slots=True)
class StepResult:
    """`logits` [R, V] fp32 of the rows with `sample`, in the order of `sampled`; None when there are none.

    `hidden` [T, H] are the final hidden states of all tokens when the plan has prompts to score, else None.
    """

    sampled: list[Row]
    logits: Tensor | None
    hidden: Tensor | None


@dataclass(slots=True)
class EncodeFailure:
    """An image that turned out broken when its pixels were needed."""

    span: ImageSpan
    error: ImageError


@dataclass(slots=True)
class Runner:
    """Owns the model and the KV cache: all device state, touched by the engine's thread only."""

    model: Model
    cache: KVCache
    embeddings: EmbeddingCache
    pixels: PixelStore
    preprocessor: Preprocessor | None
    device: torch.device
    tiles_encoded: int = field(default=0)

    def encode(self, spans: list[ImageSpan]) -> list[EncodeFailure]:
        """Puts the features of `spans` into the embedding cache, all their tiles in one batch."""
        failures, good, batches = [], [], []
        for span in spans:
            try:
                batches.append(torch.from_numpy(self.pixels.take(span)))
                good.append(span)
            except ImageError as error:
                failures.append(EncodeFailure(span, error))
        if good:
            self._encode_tiles(good, batches)
        return failures

    def _encode_tiles(self, spans: list[ImageSpan], batches: list[Tensor]) -> None:
        llava, preprocessor = self.model.llava, self.preprocessor
        assert llava is not None
        assert preprocessor is not None
        projected = llava.encode(torch.cat(batches).to(self.device))
        self.tiles_encoded += len(projected)
        for span, tiles in zip(spans, projected.split([len(batch) for batch in batches]), strict=True):
            layout = preprocessor.layout(span.image.width, span.image.height, span.image.detail)
            features = llava.pack(tiles, layout)
            if len(features) != span.length:
                raise RuntimeError(f"image has {len(features)} features for {span.length} tokens")
            self.embeddings.put(span.digest, features)

    def forward(self, plan: StepPlan) -> StepResult:
        """One pass over the plan's tokens; their keys and values are in the cache afterwards."""
        decoder = self.model.decoder
        token_ids = torch.tensor(plan.token_ids, dtype=torch.int64, device=self.device)
        positions = torch.tensor(plan.positions, dtype=torch.int64, device=self.device)
        hidden = decoder.embed(token_ids)
        for paste in plan.pastes:
            features = self.embeddings.get(paste.span.digest)[paste.source : paste.source + paste.length]
            hidden[paste.destination : paste.destination + paste.length] = features
        attention = AttentionPlan.build(plan, self.device, BLOCK_SIZE)
        sampled = [row for row in plan.rows if row.sample]
        last = torch.tensor([row.start + row.length - 1 for row in sampled or plan.rows[:1]], device=self.device)
        if any(scored_tokens(row) for row in plan.rows):
            every = decoder.forward(hidden, positions, self.cache, attention)
            return StepResult(sampled, decoder.logits(every[last]) if sampled else None, every)
        kept = decoder.forward(hidden, positions, self.cache, attention, keep=last)
        return StepResult(sampled, decoder.logits(kept) if sampled else None, None)


def scored_tokens(row: Row) -> int:
    """How many prompt tokens this row predicts for a request that asked for prompt log-probabilities."""
    sequence = row.sequence
    if sequence.params.prompt_logprobs is None or sequence.index != 0:
        return 0
    first = row.context - row.length
    return max(0, min(row.length, sequence.prompt_length - 1 - first))
