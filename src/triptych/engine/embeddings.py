"""Projected image features kept between steps and requests: a byte-bounded LRU keyed by digest."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class EmbeddingCache:
    """Features `[tokens, H]` by image digest, at most `capacity` bytes of them beyond what is pinned.

    A digest is pinned while a partially computed prompt still needs it; pinned features are never evicted, so
    the cache may exceed its capacity by what the running requests hold. With them a second question about the
    same picture skips the vision tower even when its KV prefix is gone.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.nbytes = 0
        self.hits = 0
        self.misses = 0
        self._features: OrderedDict[bytes, Tensor] = OrderedDict()
        self._pins: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._features)

    def contains(self, digest: bytes) -> bool:
        return digest in self._features

    def get(self, digest: bytes) -> Tensor:
        """Features `[tokens, H]`; raises KeyError when they are not here."""
        features = self._features[digest]
        self._features.move_to_end(digest)
        self.hits += 1
        return features

    def put(self, digest: bytes, features: Tensor) -> None:
        self.misses += 1
        replaced = self._features.pop(digest, None)
        if replaced is not None:
            self.nbytes -= replaced.nbytes
        self._features[digest] = features
        self.nbytes += features.nbytes
        self._shrink()

    def pin(self, digest: bytes) -> None:
        self._pins[digest] += 1

    def unpin(self, digest: bytes) -> None:
        if self._pins[digest] <= 0:
            raise ValueError(f"image {digest.hex()} is not pinned")
        self._pins[digest] -= 1
        if not self._pins[digest]:
            del self._pins[digest]
            self._shrink()

    def check(self) -> None:
        """Raises AssertionError when the books do not balance."""
        assert self.nbytes == sum(features.nbytes for features in self._features.values())
        assert all(count > 0 for count in self._pins.values())

    def _shrink(self) -> None:
        if self.nbytes <= self.capacity:
            return
        for digest in [digest for digest in self._features if digest not in self._pins]:
            if self.nbytes <= self.capacity:
                return
            self.nbytes -= self._features.pop(digest).nbytes
