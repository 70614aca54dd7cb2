"""Which image features must stay because a partly computed prompt still needs them. No tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from ..request import ImageSpan
from .kv_cache import require


class EmbeddingIndex(Protocol):
    """What the scheduler must know about the cache of image features; the cache itself is the engine's.

    `pin` may come before the features exist: once there, they must not be evicted until `unpin`. Both are
    called once per digest, however many sequences need it.
    """

    def contains(self, digest: bytes) -> bool: ...

    def pin(self, digest: bytes) -> None: ...

    def unpin(self, digest: bytes) -> None: ...


class NoEmbeddings:
    """The index of a model without images, or of an engine that encodes anew in each step."""

    def contains(self, digest: bytes) -> bool:
        return False

    def pin(self, digest: bytes) -> None:
        return None

    def unpin(self, digest: bytes) -> None:
        return None


class Pins:
    """Counts the sequences that need an image, and tells the index of the first and the last one.

    What one sequence holds is a dict from the offset of the span in its prompt to the span.
    """

    def __init__(self, index: EmbeddingIndex) -> None:
        self.index = index
        self._counts: Counter[bytes] = Counter()

    def take(self, held: dict[int, ImageSpan], spans: Iterable[ImageSpan]) -> None:
        """The sequence that holds `held` begins to need `spans` too."""
        for span in spans:
            if span.offset not in held:
                held[span.offset] = span
                self._counts[span.digest] += 1
                if self._counts[span.digest] == 1:
                    self.index.pin(span.digest)

    def release(self, held: dict[int, ImageSpan], computed: int | None = None) -> None:
        """Let go of the images whose last token is among the first `computed` ones (None: of all)."""
        for span in list(held.values()):
            if computed is None or span.end <= computed:
                del held[span.offset]
                self._counts[span.digest] -= 1
                if not self._counts[span.digest]:
                    del self._counts[span.digest]
                    self.index.unpin(span.digest)

    def check(self, held: Iterable[dict[int, ImageSpan]]) -> None:
        """Raise AssertionError unless exactly what these sequences hold is pinned."""
        expected = Counter(span.digest for spans in held for span in spans.values())
        require(expected == self._counts, "image features are pinned for nobody, or not for somebody")
