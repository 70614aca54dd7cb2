"""What the benchmark scripts share: the machine's own speed, timing, tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

from triptych.engine.probe import measure_machine, multiplications


def print_machine() -> None:
    """What the machine reaches at this moment; absolute figures below mean little without it."""
    speed, integer = measure_machine("cpu", "bfloat16"), _int8_speed()
    single = measure_machine("cpu", "float32").compute
    print(
        f"machine now: {torch.get_num_threads()} threads, reads {speed.read / 1e9:.0f} GB/s, multiplies "
        f"{single / 1e9:.0f} GFLOP/s fp32, {speed.compute / 1e9:.0f} bf16, {integer / 1e9:.0f} GOP/s int8; "
        f"torch {torch.__version__}",
        flush=True,
    )


def _int8_speed() -> float:
    return multiplications(lambda left: torch._int_mm(left, left), torch.device("cpu"), torch.int8)


def seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """Durations of `repeats` runs after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return times


def interleaved(works: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Durations of each of `works`, run in turn so that all of them see the same moods of a shared machine."""
    times: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    for _ in range(repeats):
        for work, spent in zip(works, times, strict=True):
            started = time.perf_counter()
            work()
            spent.append(time.perf_counter() - started)
    return times


def spread(times: Sequence[float], scale: float = 1.0, digits: int = 2) -> str:
    """median [least-most]"""
    low, middle, high = (scale * f(times) for f in (min, median, max))
    return f"{middle:.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
