"""Where keys and values live."""

from __future__ import annotations

import mmap
from math import prod

import torch
from torch import Tensor


class KVCache:
    """Keys and values of all layers: `keys[layer]` and `values[layer]` are [slots, kv_heads, D], zero at first.

    A slot is `block * block_size + offset`; nothing here knows which sequence a slot belongs to.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (slots, kv_heads, head_dim)
        self.slots = slots
        self.keys = [_zeros(shape, dtype, device) for _ in range(layers)]
        self.values = [_zeros(shape, dtype, device) for _ in range(layers)]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Zeros that take memory when they are written, not now: on the CPU, pages straight from the system."""
    if torch.device(device).type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    pages = mmap.mmap(-1, max(1, prod(shape) * dtype.itemsize))
    return torch.frombuffer(pages, dtype=dtype, count=prod(shape)).view(shape)
