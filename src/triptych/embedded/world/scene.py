"""What a picture of the drawn world contains: objects with exact places, or a handwritten number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "gray")
SIZES = ("small", "large")

# Extent of an object as a fraction of the picture's shorter side.
EXTENT = {"small": (0.125, 0.2), "large": (0.25, 0.4)}
# Height of one digit cell as a fraction of the picture's shorter side.
DIGIT_HEIGHT = {"small": (0.04, 0.06), "large": (0.15, 0.5)}
MAX_TILT = 15.0
# Two axes closer than this leave it open which one "their centres are further apart" on: such scenes are not drawn.
CLEAR_AXIS = 0.85


@dataclass(frozen=True)
class Thing:
    """One object. `x`, `y` is its centre and `extent` its unrotated width, in pixels; `tilt` in degrees."""

    shape: str
    color: str
    size: str
    x: float
    y: float
    extent: float
    tilt: float

    @property
    def reach(self) -> float:
        """Half the side of an upright square, in pixels, that holds the object however it is tilted."""
        bulge = 1.0 if self.shape == "circle" else 1.16
        return 0.5 * self.extent * bulge


@dataclass(frozen=True)
class Numeral:
    """A handwritten number.

    `boxes` are its digit cells (left, top, right, bottom) in pixels; `glyphs` index the scans.
    """

    text: str
    size: str
    boxes: tuple[tuple[float, float, float, float], ...]
    glyphs: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """A picture's content in its own pixels. Has things, or a numeral, or neither (an empty picture)."""

    width: int
    height: int
    things: tuple[Thing, ...] = ()
    numeral: Numeral | None = None

    @property
    def shorter(self) -> int:
        return min(self.width, self.height)


def clear_direction(a: Thing, b: Thing) -> str | None:
    """Where `a` lies as seen from `b`: left, right, above or below; None when the two axes are too close to call."""
    dx, dy = a.x - b.x, a.y - b.y
    if min(abs(dx), abs(dy)) > CLEAR_AXIS * max(abs(dx), abs(dy)):
        return None
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


def sample_canvas(rng: np.random.Generator, longest_ratio: float = 3.0, shortest: int = 100) -> tuple[int, int]:
    """Draw a picture size (width, height): 100 to 1200 px, mostly near-square, with a tail up to `longest_ratio`."""
    reach = math.log(longest_ratio)
    spread = rng.choice([0.0, 0.3, 0.7, reach], p=[0.2, 0.4, 0.3, 0.1])
    ratio = math.exp(rng.uniform(0, min(spread, reach)))
    short = math.exp(rng.uniform(math.log(shortest), math.log(max(700, shortest + 1))))
    short = int(np.clip(short, shortest, 1200 / ratio))
    long = round(short * ratio)
    return (long, short) if rng.random() < 0.6 else (short, long)


def sample_things(rng: np.random.Generator, width: int, height: int, count: int) -> tuple[Thing, ...]:
    """Place up to `count` objects that neither overlap nor leave the canvas, left to right in the result."""
    short = min(width, height)
    things: list[Thing] = []
    # Repeated colours and shapes make counting and telling apart worth asking about.
    palette = [str(rng.choice(COLORS)) for _ in range(rng.integers(1, 5))] if rng.random() < 0.3 else COLORS
    forms = [str(rng.choice(SHAPES)) for _ in range(rng.integers(1, 4))] if rng.random() < 0.3 else SHAPES
    for _ in range(count):
        size = SIZES[int(rng.random() < 0.5)]
        for _ in range(40):
            candidate = _sample_thing(rng, width, height, size, palette, forms)
            if all(_apart(candidate, other, short) for other in things):
                things.append(candidate)
                break
    return tuple(sorted(things, key=lambda thing: thing.x))


def _sample_thing(
    rng: np.random.Generator, width: int, height: int, size: str, palette: Sequence[str], forms: Sequence[str]
) -> Thing:
    short = min(width, height)
    extent = rng.uniform(*EXTENT[size]) * short
    tilt = 0.0 if rng.random() < 0.3 else rng.uniform(-MAX_TILT, MAX_TILT)
    thing = Thing(str(rng.choice(forms)), str(rng.choice(palette)), size, 0.0, 0.0, float(extent), float(tilt))
    margin = thing.reach + 0.01 * short
    x = rng.uniform(margin, width - margin)
    y = rng.uniform(margin, height - margin)
    return Thing(thing.shape, thing.color, size, float(x), float(y), thing.extent, thing.tilt)


def _apart(a: Thing, b: Thing, short: float) -> bool:
    gap = a.reach + b.reach + 0.015 * short
    return abs(a.x - b.x) > gap or abs(a.y - b.y) > gap


def sample_objects(rng: np.random.Generator, count: int | None = None) -> Scene:
    """Draw a scene of 1 to 4 objects; with exactly two, their relation is clear."""
    count = int(rng.choice([1, 2, 3, 4], p=[0.2, 0.35, 0.25, 0.2])) if count is None else count
    while True:
        width, height = sample_canvas(rng)
        things = sample_things(rng, width, height, count)
        if len(things) == count and (count != 2 or clear_direction(*things)):
            return Scene(width, height, things)


def sample_number(rng: np.random.Generator, labels: np.ndarray, allowed: np.ndarray, size: str | None = None) -> Scene:
    """Draw a scene with one handwritten number.

    `labels` [N] are the classes of all glyphs, `allowed` the glyph indices that may be used. `size` is small or large.
    """
    size = SIZES[int(rng.random() < 0.5)] if size is None else size
    shortest = 240 if size == "small" else 100
    while True:
        width, height = sample_canvas(rng, longest_ratio=1.6, shortest=shortest)
        numeral = _sample_numeral(rng, width, height, size, labels, allowed)
        if numeral is not None:
            return Scene(width, height, (), numeral)


def _sample_numeral(
    rng: np.random.Generator, width: int, height: int, size: str, labels: np.ndarray, allowed: np.ndarray
) -> Numeral | None:
    length = int(rng.choice([1, 2, 3, 4], p=[0.2, 0.25, 0.28, 0.27]))
    low, high = DIGIT_HEIGHT[size]
    if size == "large" and rng.random() < 0.85:
        # People leave room around what they write: most large digits are not huge.
        high = 0.3
    short = min(width, height)
    advance = rng.uniform(0.8, 1.25)
    aspect = rng.uniform(0.85, 1.1)
    widest = 0.96 * width / (short * aspect * (1 + (length - 1) * advance))
    high = min(high, widest, 0.9 * height / short)
    if high < low:
        return None
    tall = math.exp(rng.uniform(math.log(low), math.log(high))) * short
    wide = tall * aspect
    total = wide * (1 + (length - 1) * advance)
    left = rng.uniform(0.01 * width, width - total - 0.01 * width)
    top = rng.uniform(0.02 * height, height - tall - 0.02 * height)
    digits = [int(rng.integers(0, 10)) for _ in range(length)]
    if length > 1 and digits[0] == 0 and rng.random() < 0.8:
        digits[0] = int(rng.integers(1, 10))
    boxes, glyphs = [], []
    for place, digit in enumerate(digits):
        drift = rng.uniform(-0.06, 0.06) * tall
        x = left + place * wide * advance
        y = float(np.clip(top + drift, 0, height - tall))
        boxes.append((float(x), y, float(x + wide), y + float(tall)))
        glyphs.append(int(rng.choice(allowed[labels[allowed] == digit])))
    return Numeral("".join(map(str, digits)), size, tuple(boxes), tuple(glyphs))
