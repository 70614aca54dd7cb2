"""Resident memory over many distinct pictures: python bench/memory.py [--images 1000] [--shape tiny|S]

Each picture is new, so that every cache turns over; what is resident is printed at ten points. It should be flat.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import shapes
from support import table
from worker import Remote

EVERY = 10


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--images", type=int, default=1000)
    arguments.add_argument("--shape", choices=("tiny", *shapes.SHAPES[:3]), default="tiny")
    arguments.add_argument("--precision", default="bf16")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="triptych-bench-") as temporary:
        folder = shapes.write(options.shape, Path(temporary) / options.shape)
        engine = Remote("triptych", folder, options.precision)
        rows = []
        for number in range(options.images):
            side = 336 + 7 * (number % 40)
            answer = engine.call("image", seed=number, side=side, text=number)
            if (number + 1) % (options.images // EVERY) == 0:
                rows.append([str(number + 1), f"{answer['resident'] / 1e6:.0f}", f"{answer['anonymous'] / 1e6:.0f}"])
        engine.close()
    print(table(["pictures", "resident, MB", "of it not file, MB"], rows))


if __name__ == "__main__":
    main()
