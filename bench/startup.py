"""From nothing to the first token: python bench/startup.py [--shape S] [--precisions bf16 int8]

import = `import triptych` beyond a bare interpreter; help = `triptych --help`; first token = a fresh process that
loads the model and answers a prompt of 32 tokens, with the same prefill in the warm process for comparison.
Checkpoint files are in the page cache, quantised weights were made by an earlier start.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import shapes
from support import print_machine, spread, table
from worker import Remote


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--shape", choices=shapes.SHAPES, default="S")
    arguments.add_argument("--precisions", nargs="+", default=["bf16"])
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--folder", type=Path, help="where checkpoints are kept between runs")
    options = arguments.parse_args()
    commands()
    with tempfile.TemporaryDirectory(prefix="triptych-bench-") as temporary:
        folder = shapes.write(options.shape, (options.folder or Path(temporary)) / options.shape)
        print_machine()
        starts(options, folder)


def commands() -> None:
    bare = durations([sys.executable, "-c", "pass"])
    imported = durations([sys.executable, "-c", "import triptych"])
    answered = durations([str(Path(sys.executable).with_name("triptych")), "--help"])
    rows = [
        ["import triptych", spread([t - median(bare) for t in imported], 1e3, 0) + " ms"],
        ["triptych --help", spread(answered, 1e3, 0) + " ms"],
    ]
    print(table(["command", "median [range]"], rows))


def durations(command: list[str], repeats: int = 9) -> list[float]:
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return times[1:]


def starts(options: argparse.Namespace, folder: Path) -> None:
    rows = []
    for precision in options.precisions:
        first, prefill, anonymous, resident = [], [], [], []
        for turn in range(options.repeats + 1):
            started = time.perf_counter()
            engine = Remote("triptych", folder, precision)
            engine.call("prefill", seed=turn, count=32)
            elapsed = time.perf_counter() - started
            warm = [engine.call("prefill", seed=1000 + turn + n, count=32) for n in range(3)]
            engine.close()
            if turn:  # the first one fills caches
                first.append(elapsed)
                prefill.append(median([answer["seconds"] for answer in warm]))
                anonymous.append(warm[-1]["anonymous"])
                resident.append(warm[-1]["resident"])
        rows.append(
            [f"{options.shape} {precision}", spread(first), spread(prefill), f"{median(first) - median(prefill):.2f}",
             f"{median(resident) / 1e9:.2f}", f"{median(anonymous) / 1e9:.2f}"]
        )  # fmt: skip
    headers = [
        "model",
        "start to first token, s",
        "the prefill itself, s",
        "difference, s",
        "resident, GB",
        "of it not file, GB",
    ]
    print(table(headers, rows))


if __name__ == "__main__":
    main()
