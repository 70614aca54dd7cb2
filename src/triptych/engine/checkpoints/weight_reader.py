"""Tensors of a checkpoint as views of its mapped files, each read once and let go."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .shards import StoredTensor

ProgressCallback = Callable[[int, int], None]
READ_AHEAD = 512 << 20
_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class WeightReader:
    """Reads `order`'s tensors (canonical name to where it is stored) while telling `progress`.

    A view's pages count as resident memory until they are let go, which happens when the last reference to
    the view dies; so a weight that is converted, stacked or packed is never there twice, and one that is kept
    as it is costs nothing but its pages. `order` is also the order in which the files are read ahead.
    """

    def __init__(self, order: dict[str, StoredTensor], progress: ProgressCallback | None = None) -> None:
        self._stored = order
        self._place = {name: place for place, name in enumerate(order)}
        self._names = list(order)
        self._maps: dict[Path, mmap.mmap] = {}
        self._progress = progress
        self._ahead = 0
        self._ahead_bytes = 0
        self._done = 0
        self._total = sum(stored.nbytes for stored in order.values())

    def has(self, name: str) -> bool:
        return name in self._stored

    def take(self, name: str) -> Tensor:
        """The tensor in its stored type and shape, as a view of the file."""
        stored = self._stored[name]
        self._read_ahead(name)
        mapped = self._map(stored.file)
        count = stored.nbytes // _TYPES[stored.dtype].itemsize
        if not count:
            return torch.empty(stored.shape, dtype=_TYPES[stored.dtype])
        flat = torch.frombuffer(mapped, dtype=_TYPES[stored.dtype], count=count, offset=stored.begin)
        tensor = flat.view(stored.shape)
        weakref.finalize(tensor, let_go, mapped, stored.begin, stored.end).atexit = False
        self._report(stored)
        return tensor

    def skip(self, names: Sequence[str]) -> None:
        """Counts tensors as read that are not needed after all."""
        for name in names:
            self._report(self._stored[name])

    def stack(self, names: Sequence[str]) -> Tensor:
        """Several tensors under each other in one new tensor; a single one is only taken."""
        if len(names) == 1:
            return self.take(names[0])
        shapes = [self._stored[name].shape for name in names]
        rows = sum(shape[0] for shape in shapes)
        first = self._stored[names[0]]
        stacked = torch.empty((rows, *first.shape[1:]), dtype=_TYPES[first.dtype])
        for target, name in zip(stacked.split([shape[0] for shape in shapes]), names, strict=True):
            target.copy_(self.take(name))
        return stacked

    def copy(self, name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The tensor as a copy of its own, in another type and place."""
        return self.take(name).to(device=device, dtype=dtype, copy=True)

    def _report(self, stored: StoredTensor) -> None:
        self._done += stored.nbytes
        if self._progress is not None:
            self._progress(self._done, self._total)

    def _map(self, file: Path) -> mmap.mmap:
        if file not in self._maps:
            with file.open("rb") as stream:
                # Copy-on-write: torch wants writable memory, nobody writes.
                self._maps[file] = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        return self._maps[file]

    def _read_ahead(self, name: str) -> None:
        """Asks the system for the tensors that come next, so that a cold disk is read without pauses."""
        place = self._place[name]
        while self._ahead < len(self._names) and self._ahead_bytes < self._done + READ_AHEAD:
            stored = self._stored[self._names[self._ahead]]
            if self._ahead >= place and hasattr(mmap, "MADV_WILLNEED"):
                begin = stored.begin // mmap.PAGESIZE * mmap.PAGESIZE
                self._map(stored.file).madvise(mmap.MADV_WILLNEED, begin, stored.end - begin)
            self._ahead += 1
            self._ahead_bytes += stored.nbytes


def let_go(mapped: mmap.mmap, begin: int, end: int) -> None:
    """Drops the whole pages of [begin, end); they come back from the file if somebody still looks at them."""
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
    last = end // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        mapped.madvise(mmap.MADV_DONTNEED, first, last - first)
