"""What this machine reaches in a short trial: the yardstick that benchmarks are printed against."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

READ_BYTES = 512 << 20  # far beyond any cache
MATRIX = {"cpu": 2048, "cuda": 8192}
# Where a type is emulated, a smaller matrix says as much in this many seconds.
SMALL, _LONGEST = 256, 0.5


@dataclass(frozen=True, slots=True)
class MachineSpeed:
    """Bytes per second read from memory and floating-point operations per second of a large matrix product."""

    read: float
    compute: float


def measure_machine(device: str, dtype: str, threads: int | None = None) -> MachineSpeed:
    """Takes about two seconds. `dtype` is the type matrices are multiplied in ("bfloat16", "float32", ...).

    The best of several trials counts: other work on the machine only ever makes it slower. It runs on a thread
    of its own, whose team of helpers ends with it.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_measure, torch.device(device), getattr(torch, dtype), threads).result()


def _measure(device: torch.device, dtype: torch.dtype, threads: int | None) -> MachineSpeed:
    if threads is not None:
        torch.set_num_threads(threads)
    with torch.inference_mode():
        rows = torch.ones(READ_BYTES // 4 // 4096, 4096, device=device)
        vector = torch.ones(4096, device=device)
        seconds = min(_best(lambda: rows.sum(), device), _best(lambda: torch.mv(rows, vector), device))
        compute = multiplications(lambda left: left @ left, device, dtype)
    return MachineSpeed(READ_BYTES / seconds, compute)


def multiplications(product: Callable[[torch.Tensor], object], device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of `product`, which multiplies a square matrix of `dtype` by itself."""

    def trial(size: int) -> float:
        matrix = torch.ones(size, size, device=device, dtype=dtype)
        return _best(lambda: product(matrix), device)

    size, small = MATRIX[device.type], trial(SMALL)
    while size > SMALL and small * (size / SMALL) ** 3 > _LONGEST:
        size //= 2
    return 2.0 * size**3 / trial(size)


def _best(work: Callable[[], object], device: torch.device, trials: int = 6) -> float:
    """Seconds of the fastest trial, the first one not counted."""
    times = []
    for _ in range(trials):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])
