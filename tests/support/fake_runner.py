"""A model without a model: it writes into each KV slot what a real one's content would depend on.

The content of a slot is a hash of everything before it and of its own token or image feature, computed from the
plan and from what lies in the row's blocks, never from the sequence. `truth` is the same chain computed from the
sequence alone. Where both agree, no block was mixed up, overwritten, skipped or shared wrongly.
"""

from __future__ import annotations

import hashlib

from triptych.engine.plan import Row, StepPlan
from triptych.engine.request import ImageSpan, Prompt, Request, SamplingParams
from triptych.engine.sequence import Sequence

IMAGE_TOKEN = 999
START = b"start"


def make_image(name: str, offset: int, length: int, tiles: int = 1) -> ImageSpan:
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return ImageSpan(offset, length, tiles, digest, image=None)  # type: ignore[arg-type]


def make_prompt(*parts: list[int] | tuple[str, int] | tuple[str, int, int]) -> Prompt:
    """Lists are tokens, tuples are images: (name, length) or (name, length, tiles)."""
    tokens: list[int] = []
    spans: list[ImageSpan] = []
    for part in parts:
        if isinstance(part, tuple):
            spans.append(make_image(part[0], len(tokens), *part[1:]))
            tokens += [IMAGE_TOKEN] * part[1]
        else:
            tokens += part
    return Prompt(tuple(tokens), tuple(spans))


def make_sequences(request_id: str, prompt: Prompt, priority: int = 0, **params: object) -> list[Sequence]:
    """The siblings of one request."""
    request = Request(request_id, prompt, SamplingParams(**params), priority)  # type: ignore[arg-type]
    return [Sequence(request, index) for index in range(request.params.n)]


class FakeEmbeddings:
    """Keeps at most `capacity` images beyond the pinned ones, and insists on what the real cache relies on."""

    def __init__(self, capacity: int = 2) -> None:
        self.capacity = capacity
        self.kept: dict[bytes, None] = {}
        self.pinned: set[bytes] = set()

    def contains(self, digest: bytes) -> bool:
        return digest in self.kept

    def pin(self, digest: bytes) -> None:
        assert digest not in self.pinned
        self.pinned.add(digest)

    def unpin(self, digest: bytes) -> None:
        self.pinned.remove(digest)
        self.shrink()

    def put(self, digest: bytes) -> None:
        assert digest not in self.kept, "an image is encoded though its features are there"
        self.kept[digest] = None
        self.shrink()

    def shrink(self) -> None:
        for digest in [digest for digest in self.kept if digest not in self.pinned]:
            if len(self.kept) > self.capacity:
                del self.kept[digest]


class FakeRunner:
    """Executes plans on slots of hashes and checks each row against the truth."""

    def __init__(self, num_blocks: int, block_size: int, embeddings: FakeEmbeddings) -> None:
        self.block_size = block_size
        self.embeddings = embeddings
        self.slots: list[bytes | None] = [None] * (num_blocks * block_size)
        self.truths: dict[Sequence, list[bytes]] = {}
        self.encoded: list[bytes] = []

    def execute(self, plan: StepPlan) -> None:
        for span in plan.encode:
            assert span.digest in self.embeddings.pinned
            self.embeddings.put(span.digest)
            self.encoded.append(span.digest)
        features = self._features(plan)
        assert len(plan.token_ids) == len(plan.positions) == len(plan.slots) == len(set(plan.slots))
        assert sum(row.length for row in plan.rows) == len(plan)
        for row in plan.rows:
            self._execute_row(plan, row, features)

    def _features(self, plan: StepPlan) -> dict[int, tuple[bytes, int]]:
        features: dict[int, tuple[bytes, int]] = {}
        for paste in plan.pastes:
            assert self.embeddings.contains(paste.span.digest), "features to paste are not there"
            assert 0 <= paste.source < paste.source + paste.length <= paste.span.length
            for index in range(paste.length):
                assert paste.destination + index not in features
                features[paste.destination + index] = (paste.span.digest, paste.source + index)
        return features

    def _execute_row(self, plan: StepPlan, row: Row, features: dict[int, tuple[bytes, int]]) -> None:
        sequence, start = row.sequence, row.context - row.length
        assert row.length > 0
        assert start == sequence.computed, "a row must continue where the last one ended"
        assert row.sample == (row.context == len(sequence.tokens))
        for index in range(row.start, row.start + row.length):
            position = plan.positions[index]
            assert position == start + index - row.start
            assert plan.slots[index] == self._slot(sequence, position)
            before = self.slots[self._slot(sequence, position - 1)] if position else START
            assert before is not None
            self.slots[plan.slots[index]] = link(before, plan.token_ids[index], features.get(index))
        held = [self.slots[self._slot(sequence, position)] for position in range(row.context)]
        assert held == self.truth(sequence)[: row.context], "the row's context is not this sequence's"

    def _slot(self, sequence: Sequence, position: int) -> int:
        return sequence.block_table[position // self.block_size] * self.block_size + position % self.block_size

    def truth(self, sequence: Sequence) -> list[bytes]:
        """What the slots of all its known tokens must hold."""
        chain = self.truths.setdefault(sequence, [])
        for position in range(len(chain), len(sequence.tokens)):
            feature = None
            for span in sequence.spans:
                if span.offset <= position < span.end:
                    feature = (span.digest, position - span.offset)
            chain.append(link(chain[-1] if chain else START, sequence.tokens[position], feature))
        return chain


def link(before: bytes, token: int, feature: tuple[bytes, int] | None) -> bytes:
    return hashlib.blake2b(repr((before, token, feature)).encode(), digest_size=8).digest()
