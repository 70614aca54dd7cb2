"""Draw training pictures on disk, away from the training process: python -m training.render --rate 15.

Shards are replaced one by one, oldest first, so that training always finds fresh pictures and never waits.
"""

from __future__ import annotations

import argparse
import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.crowd import make_crowd
from training.foreign import draw_foreign
from training.prepare import Grid, anyres_views, padded_view
from training.shapes import GRID
from training.state import WORK
from training.targets import Targets, targets_of
from training.warp import Bank
from triptych.embedded.world import digits
from triptych.embedded.world.draw import draw, sample_style
from triptych.embedded.world.scene import Scene, sample_canvas, sample_number, sample_objects


@dataclass(frozen=True)
class Picture:
    """One picture as the models see it. `pixels` uint8 [1 + 1 + tiles, S, S, 3]: the padded view of 1.5, then the
    base and tiles of 1.6.

    `targets` of each view; `scene` is None for a foreign picture.
    """

    scene: Scene | None
    pixels: np.ndarray
    classes: np.ndarray
    places: np.ndarray
    grid: Grid


def sample_scene(rng: np.random.Generator, allowed: np.ndarray, small: float) -> Scene | None:
    """One scene of the training mix: half objects, nearly half numbers, a few empty or foreign (None); with probability
    `small` a small number, whatever the mix says. Numbers are of the `allowed` scans.
    """
    if small and rng.random() < small:
        return sample_number(rng, digits.labels(), allowed, "small")
    roll = rng.random()
    if roll < 0.51:
        return sample_objects(rng)
    if roll < 0.95:
        return sample_number(rng, digits.labels(), allowed, "small" if rng.random() < 0.55 else "large")
    return Scene(*sample_canvas(rng)) if roll < 0.965 else None


def make_picture(rng: np.random.Generator, bank: Bank | None, small: float = 0.0) -> Picture:
    """Draw one picture of `sample_scene`. Numbers are written with the bank's variations of the trained digits; without
    a bank, with the held-out digits as they are.
    """
    scene = sample_scene(rng, digits.trained() if bank else digits.held_out(), small)
    image = (
        draw_foreign(rng, *sample_canvas(rng))
        if scene is None
        else draw(scene, sample_style(rng), bank.pick if bank else None)
    )
    tiles, grid = anyres_views(image, GRID)
    views = [padded_view(image), *tiles]
    labels: list[Targets] = [targets_of(scene or Scene(*image.size), view) for view in views]
    return Picture(
        scene,
        np.stack([view.pixels for view in views]),
        np.stack([label.classes for label in labels]),
        np.stack([label.places for label in labels]),
        grid,
    )


def make_crowd_picture(rng: np.random.Generator, bank: Bank) -> Picture:
    """Draw one crowded tile as a picture of a single view."""
    pixels, classes, places = make_crowd(rng, bank)
    return Picture(None, pixels[None], classes[None], places[None], Grid(1, 1, (0, GRID), (0, GRID)))


def write_shard(path: Path, pictures: list[Picture]) -> None:
    """Write pictures to `path` in one piece."""
    with path.with_suffix(".new").open("wb") as file:
        pickle.dump(pictures, file, protocol=5)
    os.replace(path.with_suffix(".new"), path)


def read_shard(path: Path) -> list[Picture]:
    """Read pictures that `write_shard` wrote (our own work files, never foreign input)."""
    with path.open("rb") as file:
        return pickle.load(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=15, help="pictures a second once all shards are there")
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--size", type=int, default=400, help="pictures in a shard")
    parser.add_argument("--minutes", type=float, default=180)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--crowd", action="store_true", help="crowded tiles for the tower's first lessons")
    parser.add_argument("--small", type=float, default=0, help="share of small numbers, beyond those of the mix")
    parser.add_argument("--variations", type=int, default=24, help="variations of each handwritten digit")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    folder = args.work / ("crowd" if args.crowd else "shards")
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    bank = Bank(args.variations, args.seed)
    end = time.monotonic() + args.minutes * 60
    while time.monotonic() < end:
        shards = sorted(folder.glob("*.pkl"), key=lambda path: path.stat().st_mtime)
        pictures = []
        for _ in range(args.size):
            started = time.monotonic()
            pictures.append(make_crowd_picture(rng, bank) if args.crowd else make_picture(rng, bank, args.small))
            if len(shards) >= args.shards:
                time.sleep(max(0.0, 1 / args.rate - (time.monotonic() - started)))
        for old in shards[: max(0, len(shards) - args.shards + 1)]:
            old.unlink()
        bank.renew()
        write_shard(folder / f"{time.time_ns()}.pkl", pictures)
        print(f"{len(pictures)} pictures, {sum(len(picture.pixels) for picture in pictures)} views", flush=True)


if __name__ == "__main__":
    main()
