"""One step while it is being put together: rows, slots, images to encode, features to paste. No tensors."""

from __future__ import annotations

from ..plan import Paste, Row, StepPlan
from ..request import ImageSpan
from ..sequence import Sequence
from .limits import SchedulerLimits
from .pins import EmbeddingIndex


class StepBuilder:
    """Fills a `StepPlan` within the token budget and the tile budget of `limits`.

    `chunk_while_decoding` bounds all prompt tokens of the step together as soon as it has a decode row,
    because those who are being answered wait for the whole step. The first image of a step may exceed the
    tile budget, so that any image can be encoded.
    """

    def __init__(self, embeddings: EmbeddingIndex, block_size: int, limits: SchedulerLimits) -> None:
        self.plan = StepPlan()
        self._embeddings = embeddings
        self._block_size = block_size
        self._chunk = limits.chunk_while_decoding
        self._tokens_left = limits.token_budget
        self._chunk_left = limits.token_budget
        self._tiles_left = limits.tile_budget
        self._encoding: set[bytes] = set()

    @property
    def prefill_left(self) -> int:
        """Prompt tokens that may still be added."""
        return min(self._tokens_left, self._chunk_left)

    def add_decode(self, sequence: Sequence) -> None:
        """A row for the one generated token that is known and not computed. Comes before all prefill rows."""
        plan, position, size = self.plan, sequence.computed, self._block_size
        plan.rows.append(Row(sequence, len(plan.token_ids), 1, position + 1, True))
        plan.token_ids.append(sequence.tokens[position])
        plan.positions.append(position)
        plan.slots.append(sequence.block_table[position // size] * size + position % size)
        self._tokens_left -= 1
        if self._chunk is not None:
            self._chunk_left = self._chunk

    def fit(self, sequence: Sequence, start: int) -> int:
        """How many tokens from `start` on this step can compute: budgets, and images it can still encode."""
        end = min(len(sequence.tokens), start + self.prefill_left)
        tiles, encoding = self._tiles_left, set(self._encoding)
        for span in overlapping(sequence, start, end):
            if span.digest in encoding or self._embeddings.contains(span.digest):
                continue
            if encoding and span.tiles > tiles:
                return max(0, span.offset - start)
            tiles -= span.tiles
            encoding.add(span.digest)
        return max(0, end - start)

    def add_prefill(self, sequence: Sequence, length: int) -> list[ImageSpan]:
        """A row for the next `length` tokens (as `fit` allowed); returns the images it needs features of."""
        plan, start, end = self.plan, sequence.computed, sequence.computed + length
        flat = len(plan.token_ids)
        spans = overlapping(sequence, start, end)
        for span in spans:
            if span.digest not in self._encoding and not self._embeddings.contains(span.digest):
                self._encoding.add(span.digest)
                self._tiles_left -= span.tiles
                plan.encode.append(span)
            first, last = max(start, span.offset), min(end, span.end)
            plan.pastes.append(Paste(span, first - span.offset, flat + first - start, last - first))
        plan.rows.append(Row(sequence, flat, length, end, end == len(sequence.tokens)))
        plan.token_ids.extend(sequence.tokens[start:end])
        plan.positions.extend(range(start, end))
        self._add_slots(sequence.block_table, start, end)
        self._tokens_left -= length
        self._chunk_left -= length
        return spans

    def _add_slots(self, table: list[int], start: int, end: int) -> None:
        size, slots = self._block_size, self.plan.slots
        while start < end:
            index, offset = divmod(start, size)
            count = min(size - offset, end - start)
            first = table[index] * size + offset
            slots.extend(range(first, first + count))
            start += count


def overlapping(sequence: Sequence, start: int, end: int) -> list[ImageSpan]:
    """The images that have tokens in `[start, end)`, in order."""
    return [span for span in sequence.spans if span.offset < end and start < span.end]
