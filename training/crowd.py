"""Crowded tiles: many objects and numbers on one tile, so that nearly every patch has something to teach.

No picture of the drawn world looks like this. They serve only the tower's first lessons: ten times as many
answers per encoded tile.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from training.prepare import padded_view
from training.shapes import GRID, TILE
from training.targets import BARE, COLUMN, IGNORE, targets_of
from training.warp import Bank
from triptych.embedded.world import digits
from triptych.embedded.world.draw import draw, sample_style, wear, write_number
from triptych.embedded.world.scene import COLORS, MAX_TILT, SHAPES, Numeral, Scene, Thing

Box = tuple[float, float, float, float]


def make_crowd(rng: np.random.Generator, bank: Bank) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one crowded tile: pixels uint8 [S, S, 3], classes uint8 [P, 9] and places float16 [P, 4] as in `targets`."""
    side = int(TILE * rng.choice([1.0, 1.37, 1.75, 2.4], p=[0.25, 0.25, 0.3, 0.2]))
    scale = side / TILE
    taken: list[Box] = []
    things: list[Thing] = []
    numerals: list[Numeral] = []
    share = rng.choice([0.0, 0.4, 0.75, 1.0], p=[0.12, 0.2, 0.28, 0.4])
    # Large things first, while there is room; then smaller ones between them.
    sizes = np.sort(np.exp(rng.uniform(math.log(8), math.log(rng.choice([22, 52, 110], p=[0.4, 0.48, 0.12])), 60)))[
        ::-1
    ]
    for tall in sizes * scale:
        if rng.random() < share:
            numeral = _numeral(rng, side, tall, scale, taken)
            if numeral is not None:
                numerals.append(numeral)
        else:
            thing = _thing(rng, side, min(tall, 0.5 * side), scale, taken)
            if thing is not None:
                things.append(thing)
    style = sample_style(rng)
    # Noise, blur and JPEG belong on the finished picture, once.
    image = draw(Scene(side, side, tuple(things)), replace(style, noise=0.0, blur=0.0, jpeg=None))
    for numeral in numerals:
        image = write_number(image, numeral, style, rng, bank.pick)
    view = padded_view(wear(image, style, rng))
    parts = [targets_of(Scene(side, side, tuple(things)), view)]
    parts += [targets_of(Scene(side, side, (), numeral), view) for numeral in numerals]
    classes, places = parts[0].classes.copy(), parts[0].places.copy()
    # What is said of a whole picture cannot be said of a crowd.
    for name in ("size", "rank", "total", "relation"):
        classes[:, COLUMN[name]] = IGNORE
    for part in parts[1:]:
        here = ~np.isnan(part.places[:, 0]) & np.isnan(places[:, 0])
        places[here] = part.places[here]
        for name in ("left", "right", "slot", "total"):
            column = COLUMN[name]
            fresh = part.classes[:, column] != BARE.get(name, IGNORE)
            classes[fresh, column] = part.classes[fresh, column]
    assert classes.shape[0] == GRID * GRID
    return view.pixels, classes, places


def _free(box: Box, side: int, gap: float, taken: list[Box]) -> bool:
    left, top, right, bottom = box
    if left < 0 or top < 0 or right > side or bottom > side:
        return False
    return all(
        right + gap <= other[0] or other[2] + gap <= left or bottom + gap <= other[1] or other[3] + gap <= top
        for other in taken
    )


def _thing(rng: np.random.Generator, side: int, extent: float, scale: float, taken: list[Box]) -> Thing | None:
    x, y = rng.uniform(0, side, 2)
    tilt = rng.uniform(-MAX_TILT, MAX_TILT)
    thing = Thing(str(rng.choice(SHAPES)), str(rng.choice(COLORS)), "small", float(x), float(y), extent, float(tilt))
    box = (x - thing.reach, y - thing.reach, x + thing.reach, y + thing.reach)
    if not _free(box, side, 3 * scale, taken):
        return None
    taken.append(box)
    return thing


def _numeral(rng: np.random.Generator, side: int, tall: float, scale: float, taken: list[Box]) -> Numeral | None:
    wide, advance = tall * rng.uniform(0.85, 1.1), rng.uniform(0.8, 1.25)
    length = int(rng.integers(1, 1 + max(1, min(4, int(side / (wide * advance))))))
    total = wide * (1 + (length - 1) * advance)
    # Large ones find a place only if it is not sought in vain.
    left, top = rng.uniform(0, max(1.0, side - total)), rng.uniform(0, max(1.0, side - tall))
    if not _free((left, top, left + total, top + tall), side, 3 * scale, taken):
        return None
    taken.append((left, top, left + total, top + tall))
    chosen = rng.integers(0, 10, length)
    labels, allowed = digits.labels(), digits.trained()
    boxes = tuple((left + n * wide * advance, top, left + n * wide * advance + wide, top + tall) for n in range(length))
    glyphs = tuple(int(rng.choice(allowed[labels[allowed] == digit])) for digit in chosen)
    return Numeral("".join(map(str, chosen)), "small", boxes, glyphs)
