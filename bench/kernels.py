"""The kernel table against F.linear and against the machine: python bench/kernels.py [--rows 1 8 64 600] [--N --K]

Weights are rotated so that they come from memory, not from a cache. "of reading" is the share of the machine's own
reading speed that the weight bytes are read with; "of F.linear" is the time relative to bf16 F.linear in the same
round. Rounds go through all kernels in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from statistics import median
from typing import Any

import torch
from support import interleaved, print_machine, spread, table
from torch.nn import functional as F

from triptych.engine.ops.linear import make_linear
from triptych.engine.ops.threads import configure_threads
from triptych.engine.probe import measure_machine

PRECISIONS = ("bf16", "int8", "int4", "w8a8")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 64, 600])
    arguments.add_argument("--N", type=int, default=14336)
    arguments.add_argument("--K", type=int, default=4096)
    arguments.add_argument("--copies", type=int, default=3, help="different weights taken in turn")
    arguments.add_argument("--repeats", type=int, default=9)
    options = arguments.parse_args()
    configure_threads()
    print_machine()
    with torch.inference_mode():
        run(options)


def run(options: argparse.Namespace) -> None:
    N, K = options.N, options.K
    plain = [torch.randn(N, K).mul_(0.02).bfloat16() for _ in range(options.copies)]
    held = {name: [make_linear(w, precision=name) for w in plain] for name in PRECISIONS}
    print(f"y = x W^T, W [{N}, {K}]; bytes: " + ", ".join(f"{name} {held[name][0].nbytes >> 20} MiB" for name in held))
    rows = []
    for T in options.rows:
        read = measure_machine("cpu", "bfloat16").read
        x = torch.randn(T, K).bfloat16()
        works = [in_turn(plain, partial(F.linear, x))]
        works += [in_turn(held[name], lambda linear, x=x: linear(x)) for name in PRECISIONS]
        times = interleaved(works, options.repeats if T < 100 else 3)
        base = median(times[0])
        for name, spent in zip(("F.linear", *PRECISIONS), times, strict=True):
            size = plain[0].nbytes if name == "F.linear" else held[name][0].nbytes
            now = median(spent)
            rows.append(
                [str(T), name, spread(spent, 1e3), f"{base / now:.2f}", f"{size / now / 1e9:.1f}",
                 f"{100 * size / now / read:.0f} %", f"{2 * T * N * K / now / 1e9:.0f}"]
            )  # fmt: skip
    print(table(["rows", "kernel", "ms", "x F.linear", "GB/s", "of reading", "GFLOP/s"], rows))


def in_turn(weights: Sequence[Any], multiply: Callable[[Any], object]) -> Callable[[], object]:
    """Multiplies by another of `weights` on each call."""
    supply = cycle(weights)
    return lambda: multiply(next(supply))


if __name__ == "__main__":
    main()
