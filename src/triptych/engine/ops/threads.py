"""Process-wide settings for computing on the CPU, made once by the engine's thread."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

from ..machine import physical_cores

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP = 256 << 20
# Kernels that oneDNN, and torch's layer over it, keep for shapes they have met: by default 1024 each, of half a
# megabyte, and every number of tokens is a shape. A step of one model needs about eight.
_KERNELS_KEPT = "128"


def configure_threads(threads: int | None = None) -> None:
    """Uses `threads` (None: all physical cores) for one operation.

    Numbers too small for the format count as zero, as they cost a hundred times as much to multiply. Scratch
    memory of up to 256 MiB is kept by the allocator: giving it back after each operation means that the kernel
    clears the same pages again for the next. Larger blocks come in huge pages where the system allows: reading
    weights is then a few per cent faster, and filling memory for the first time three times as fast.
    Compiled kernels are kept for few shapes, or memory would grow with every new length of prompt.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch looks at it with its first large block
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # and at these when it first multiplies
        os.environ.setdefault(name, _KERNELS_KEPT)
    torch.set_num_threads(threads or physical_cores())
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_THRESHOLD, _KEEP)
            libc.mallopt(_M_TRIM_THRESHOLD, _KEEP)
        except (OSError, AttributeError):  # not glibc
            return
