"""The one table of kernels: (operation, device, format, row range) -> function.

A faster kernel is a new row above the one it beats; nothing that calls `kernels` changes. Every row has a slow
twin in plain torch (the `any` row of the format its weights were packed from) and a test that they agree.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from . import dense, int4, int8
from .packed import Weights

Kernel = Callable[[Tensor, Weights, Tensor | None], Tensor]
ANY_ROWS = 1 << 62


class Entry(NamedTuple):
    """`function` serves `format` on `device` for at most `most_rows` rows (and more than the entry above).

    `needs` names a trial of `working` that must have gone well here.
    """

    operation: str
    device: str
    format: str
    most_rows: int
    function: Kernel
    needs: str = ""


TABLE: tuple[Entry, ...] = (
    Entry("linear", "any", "plain", ANY_ROWS, dense.plain),
    Entry("linear", "any", "stored", ANY_ROWS, dense.stored),
    Entry("linear", "cpu", "onednn", dense.SMALLEST_ONEDNN_ROWS - 1, dense.onednn_few),
    Entry("linear", "cpu", "onednn", ANY_ROWS, dense.onednn),
    Entry("linear", "cpu", "int8-rows", int8.MOST_FEW_ROWS, int8.rows_few, "int8-few"),
    Entry("linear", "any", "int8-rows", ANY_ROWS, int8.rows),
    Entry("linear", "cpu", "int8-onednn", ANY_ROWS, int8.onednn),
    Entry("linear_w8a8", "cpu", "int8-rows", int8.MOST_FEW_ROWS, int8.rows_few, "int8-few"),
    Entry("linear_w8a8", "any", "int8-rows", ANY_ROWS, int8.rows_w8a8),
    Entry("linear_w8a8", "cpu", "int8-onednn", ANY_ROWS, int8.onednn_w8a8),
    Entry("linear", "any", "int4-rows", ANY_ROWS, int4.rows),
    Entry("linear", "cpu", "int4-tiles", int4.MOST_TILE_ROWS, int4.tiles_few),
    Entry("linear", "cpu", "int4-tiles", ANY_ROWS, int4.tiles_many),
)


def kernels(operation: str, device: str, format: str) -> tuple[tuple[int, Kernel], ...]:
    """(most_rows, function) in ascending order of rows for weights in `format`; LookupError if there are none."""
    found = [e for e in TABLE if e.operation == operation and e.format == format and e.device in (device, "any")]
    if not found:
        raise LookupError(f"no {operation} kernel for {format} weights on {device}")
    return tuple((e.most_rows, e.function) for e in found if not e.needs or e.needs in working())


@lru_cache(maxsize=1)
def working() -> frozenset[str]:
    """Formats and kernels of the CPU that work in this torch and on this processor.

    Each is tried on a small matrix; no version is read.
    """
    tried = {
        "onednn": dense.onednn_works,
        "int8-onednn": int8.onednn_works,
        "int8-few": int8.rows_few_works,
        "int4-tiles": lambda: bool(int4.tile_rows()),
    }
    return frozenset(name for name, works in tried.items() if works())


def fastest(weights: Weights) -> Callable[[Weights], Weights] | None:
    """How to pack `weights` for the device they are on; None: they are as they should be."""
    if weights.device.type != "cpu":
        return None
    choices: dict[str, tuple[str, Callable[[Weights], Weights]]] = {
        "plain": ("onednn", dense.reorder),
        "int8-rows": ("int8-onednn", int8.prepack),
        "int4-rows": ("int4-tiles", int4.tile),
    }
    target, pack = choices.get(weights.format, ("", dense.reorder))
    if target not in working():
        return None
    if weights.format == "plain" and weights.tensors["weight"].dtype != torch.bfloat16:
        return None
    if weights.format == "int4-rows" and weights.N % int4.tile_rows():
        return None
    return pack
