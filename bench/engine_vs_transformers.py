"""Triptych beside transformers on random weights, in turn, in one run.

python bench/engine_vs_transformers.py --shape S [--precisions bf16 int8] [--cases first again encode decode together]
python bench/engine_vs_transformers.py --shape S --transformers fp32 --precisions fp32 int8

The second form is for a processor without bf16 instructions, where bf16 is emulated many times slower than fp32.

Each engine is a process of its own with all cores; they take turns, so that a shared machine's moods hit both.
Cases: first = time to first token of a new picture and 32 text tokens; again = another question about that picture;
encode = one tile through tower and projector; decode = 64 tokens after a prompt of 32, alone; together = 16 requests
of 64 tokens with different prompts, 8 at a time (transformers: static batches of 8); prefill = 590 text tokens.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import shapes
from support import print_machine, spread, table
from worker import Remote

CASES = ("first", "again", "encode", "decode", "together", "prefill")
IMAGE_SIDE = {"S": 336, "M": 336, "S16": 672}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--shape", choices=shapes.SHAPES, default="S")
    arguments.add_argument("--precisions", nargs="+", default=["bf16"], help="Triptych's")
    arguments.add_argument("--transformers", choices=("bf16", "fp32"), default="bf16", help="transformers' precision")
    arguments.add_argument("--cases", nargs="+", choices=CASES)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--requests", type=int, default=16, help="of the case `together`")
    arguments.add_argument("--folder", type=Path, help="where checkpoints are kept between runs")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="triptych-bench-") as temporary:
        folder = shapes.write(options.shape, (options.folder or Path(temporary)) / options.shape)
        print_machine()
        run(options, folder)


def run(options: argparse.Namespace, folder: Path) -> None:
    default = ("decode", "together", "prefill") if options.shape == "X" else CASES[:-1]
    engines = []
    ours = [("triptych", precision) for precision in options.precisions]
    for name, precision in [("transformers", options.transformers), *ours]:
        engines.append(Remote(name, folder, precision))
        engines[-1].call("settle")
    print(f"shape {options.shape}: " + ", ".join(f"{e.name} ready in {e.load_seconds:.1f} s" for e in engines))
    rows = []
    for case in options.cases or default:
        rows += list(compare(case, engines, options))
        print("\n".join(" | ".join(row) for row in rows[-len(engines) :]), flush=True)
    for engine in engines:
        engine.close()
    print_machine()
    print(table(["case", "engine", "median [range]", "ratio to transformers", "resident"], rows))


def compare(case: str, engines: list[Remote], options: argparse.Namespace) -> Iterator[list[str]]:
    """Rows of the table for one case: seconds, or tokens per second where tokens are generated."""
    rate = case in ("decode", "together")
    found: list[list[float]] = [[] for _ in engines]
    memory = [0.0] * len(engines)
    for turn in range(options.repeats + 1):
        for number, engine in enumerate(engines):
            answer = measure(case, engine, turn, options)
            memory[number] = answer["resident"]
            if turn:  # the first round warms up
                found[number].append(answer["tokens"] / answer["seconds"] if rate else answer["seconds"])
    for engine, values, size in zip(engines, found, memory, strict=True):
        ratio = median(values) / median(found[0])
        unit = "tokens/s" if rate else "s"
        yield [case, engine.name, f"{spread(values)} {unit}", f"{ratio:.2f}", f"{size / 1e9:.2f} GB"]


def measure(case: str, engine: Remote, turn: int, options: argparse.Namespace) -> dict[str, float]:
    side = IMAGE_SIDE.get(options.shape, 336)
    if case == "first":
        return engine.call("image", seed=turn, side=side, text=turn)
    if case == "again":  # the same picture as the last `first`
        return engine.call("image", seed=options.repeats, side=side, text=1000 + turn)
    if case == "encode":
        return engine.call("encode", seed=turn)
    if case == "decode":
        return engine.call("decode", seed=turn, count=64)
    if case == "together":
        return engine.call("together", seed=turn, requests=options.requests, count=64)
    return engine.call("prefill", seed=turn, count=590)


if __name__ == "__main__":
    main()
