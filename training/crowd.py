"""Crowded tiles: many objects and numbers on one tile, so that nearly every patch has something to teach.

No picture of the drawn world looks like this. They serve only the tower's lessons: ten times as many answers per
encoded tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from training.prepare import padded_view
from training.shapes import TILE
from training.targets import COLUMN, IGNORE, NO_SLOT, targets_of
from training.warp import Bank
from triptych.embedded.world import digits
from triptych.embedded.world.draw import draw, sample_style, wear, write_number
from triptych.embedded.world.scene import COLORS, MAX_TILT, SHAPES, Numeral, Scene, Thing

Box = tuple[float, float, float, float]
# The share of tiles that hold small numbers alone: the hardest to read.
_PAGES = 0.4


def make_crowd(rng: np.random.Generator, bank: Bank) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one crowded tile: pixels uint8 [S, S, 3]; classes uint8 [P, 10] and places float16 [P, 4] of `Targets`."""
    side = int(TILE * rng.choice([0.75, 1.0, 1.37, 1.75, 2.4], p=[0.15, 0.2, 0.2, 0.25, 0.2]))
    things, numerals = ([], small_numbers(rng, side)) if rng.random() < _PAGES else _mixture(rng, side)
    style = sample_style(rng)
    # Noise, blur and JPEG belong on the finished picture, once.
    image = draw(Scene(side, side, tuple(things)), replace(style, noise=0.0, blur=0.0, jpeg=None))
    if numerals:
        image = write_number(image, _together(numerals), style, rng, bank.pick)
    view = padded_view(wear(image, style, rng))
    labels = targets_of(Scene(side, side, tuple(things)), view, numerals)
    # What is said of a whole picture cannot be said of a crowd.
    for name in ("size", "rank", "relation"):
        labels.classes[:, COLUMN[name]] = IGNORE
    unnumbered = (labels.classes[:, [COLUMN["left slot"], COLUMN["right slot"]]] == NO_SLOT).all(1)
    labels.classes[unnumbered, COLUMN["total"]] = IGNORE
    return view.pixels, labels.classes, labels.places


def _mixture(rng: np.random.Generator, side: int) -> tuple[list[Thing], list[Numeral]]:
    """Objects and numbers of all sizes, wherever there is room: large ones first, then smaller ones between them."""
    scale = side / TILE
    taken: list[Box] = []
    things: list[Thing] = []
    numerals: list[Numeral] = []
    share = rng.choice([0.0, 0.4, 0.75, 1.0], p=[0.12, 0.2, 0.28, 0.4])
    largest = rng.choice([22, 52, 110], p=[0.4, 0.48, 0.12])
    sizes = np.sort(np.exp(rng.uniform(math.log(8), math.log(largest), 60)))[::-1]
    for tall in sizes * scale:
        if rng.random() < share:
            numeral = _numeral(rng, side, tall, scale, taken)
            if numeral is not None:
                numerals.append(numeral)
        else:
            thing = _thing(rng, side, min(tall, 0.5 * side), scale, taken)
            if thing is not None:
                things.append(thing)
    return things, numerals


def small_numbers(rng: np.random.Generator, side: int) -> list[Numeral]:
    """Small numbers in lines on half of the tile: as many as `vision.KEPT` patches hold, as small as tiles of 1.6 show
    them.
    """
    scale = side / TILE
    across = rng.uniform(0.55, 1.0)
    width, height = across * side, 0.5 / across * side
    x0, y0 = rng.uniform(0, side - width), rng.uniform(0, side - height)
    numerals: list[Numeral] = []
    y = y0
    while True:
        line = float(np.exp(rng.uniform(math.log(7.5), math.log(20)))) * scale
        if y + line > y0 + height:
            return numerals
        x = x0 + rng.uniform(0, 14) * scale
        while True:
            tall = line * rng.uniform(0.8, 1.0)
            wide, advance = _spacing(rng, tall)
            corner = (x, y + rng.uniform(0, line - tall))
            numeral = _written(rng, corner, (wide, tall), wide * advance, int(rng.integers(1, 5)))
            right = numeral.boxes[-1][2]
            if right > x0 + width:
                break
            numerals.append(numeral)
            x = right + rng.uniform(0.4, 1.8) * line
        y += line + rng.uniform(2, 12) * scale


def _together(numerals: Sequence[Numeral]) -> Numeral:
    """All numbers as one, to be written at once."""
    return Numeral(
        "".join(numeral.text for numeral in numerals),
        "small",
        tuple(box for numeral in numerals for box in numeral.boxes),
        tuple(glyph for numeral in numerals for glyph in numeral.glyphs),
    )


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
    wide, advance = _spacing(rng, tall)
    length = int(rng.integers(1, 1 + max(1, min(4, int(side / (wide * advance))))))
    total = wide * (1 + (length - 1) * advance)
    # Large ones find a place only if it is not sought in vain.
    left, top = rng.uniform(0, max(1.0, side - total)), rng.uniform(0, max(1.0, side - tall))
    if not _free((left, top, left + total, top + tall), side, 3 * scale, taken):
        return None
    taken.append((left, top, left + total, top + tall))
    return _written(rng, (left, top), (wide, tall), wide * advance, length)


def _spacing(rng: np.random.Generator, tall: float) -> tuple[float, float]:
    """How wide digits of this height are, and how many widths it is from one to the next."""
    return tall * rng.uniform(0.85, 1.1), rng.uniform(0.8, 1.25)


def _written(
    rng: np.random.Generator, corner: tuple[float, float], cell: tuple[float, float], step: float, length: int
) -> Numeral:
    """A random number of `length` digits in cells (width, height), `step` apart, the first with its upper left corner
    at `corner` (x, y).
    """
    (left, top), (wide, tall) = corner, cell
    chosen = rng.integers(0, 10, length)
    boxes = tuple((left + n * step, top, left + n * step + wide, top + tall) for n in range(length))
    glyphs = tuple(int(rng.choice(_scans()[digit])) for digit in chosen)
    return Numeral("".join(map(str, chosen)), "small", boxes, glyphs)


@cache
def _scans() -> list[np.ndarray]:
    """The trained scans of each digit."""
    labels, allowed = digits.labels(), digits.trained()
    return [allowed[labels[allowed] == digit] for digit in range(10)]
