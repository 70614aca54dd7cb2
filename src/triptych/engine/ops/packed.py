"""What a weight matrix is once it is held in some format: named tensors and their shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# A scratch of at most this many bytes stays in the last-level cache between being written and multiplied.
SCRATCH_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """One matrix [N, K] in `format` (a name in the kernel table); which tensors there are depends on it."""

    format: str
    N: int
    K: int
    tensors: dict[str, Tensor]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def device(self) -> torch.device:
        return next(iter(self.tensors.values())).device

    def to(self, device: torch.device | str) -> Weights:
        return Weights(self.format, self.N, self.K, {k: v.to(device) for k, v in self.tensors.items()})


def row_blocks(N: int, K: int, itemsize: int, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Ranges [start, stop) over N rows of K items, each within `SCRATCH_BYTES` and a multiple of `multiple`."""
    step = max(1, SCRATCH_BYTES // max(1, K * itemsize * multiple)) * multiple
    for start in range(0, N, step):
        yield start, min(N, start + step)
