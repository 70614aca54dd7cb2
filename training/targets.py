"""What each patch of a tile shows, known from the scene: the dense lessons that teach the tower before it ever
sees a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.prepare import View
from training.shapes import GRID, PATCH, TILE
from triptych.embedded.world.scene import COLORS, SHAPES, SIZES, Numeral, Scene, clear_direction

IGNORE = 255
NO_SHAPE, NO_DIGIT, NO_SLOT = len(SHAPES), 10, 4
# Names and class counts of the columns of `Targets.classes`.
CLASSES = {
    "shape": len(SHAPES) + 1,
    "color": len(COLORS),
    "size": len(SIZES),
    "left": 11,
    "right": 11,
    # Which digit of its number lies there, for either half: a digit narrower than a patch need not reach its middle.
    "left slot": 5,
    "right slot": 5,
    # How many objects lie further left; how many objects or digits there are; where one of two lies from the other.
    "rank": 4,
    "total": 4,
    "relation": 4,
}
COLUMN = {name: column for column, name in enumerate(CLASSES)}
DIRECTIONS = ("left", "right", "above", "below")
# The class of a patch that shows nothing of the kind.
BARE = {"shape": NO_SHAPE, "left": NO_DIGIT, "right": NO_DIGIT, "left slot": NO_SLOT, "right slot": NO_SLOT}
# Heights in tile pixels: lower digits teach nothing but noise, higher ones are read off a smaller view.
_LEGIBLE = (6.5, 90.0)


@dataclass(frozen=True)
class Targets:
    """`classes` uint8 [P, 10] (IGNORE where nothing is asked), `places` float16 [P, 4]: centre offset and extent
    over the tile side
    (NaN where nothing is)."""

    classes: np.ndarray
    places: np.ndarray


def targets_of(scene: Scene, view: View, numerals: Sequence[Numeral] = ()) -> Targets:
    """Label every patch of a view, row-major; `numerals` are written on it besides what the scene says."""
    classes = np.full((GRID * GRID, len(CLASSES)), IGNORE, np.uint8)
    places = np.full((GRID * GRID, 4), np.nan, np.float16)
    for name, bare in BARE.items():
        classes[:, COLUMN[name]] = bare
    y, x = np.divmod(np.arange(GRID * GRID), GRID)
    centres = np.stack([x, y], axis=1) * PATCH + PATCH / 2
    if scene.things:
        _label_things(scene, view, centres, classes, places)
    for numeral in (*numerals, *([scene.numeral] if scene.numeral else [])):
        _label_digits(numeral, view, centres, classes, places)
    return Targets(classes, places)


def _label_things(scene: Scene, view: View, centres: np.ndarray, classes: np.ndarray, places: np.ndarray) -> None:
    scale, shift = np.array(view.scale), np.array(view.shift)
    middle = np.array([(thing.x, thing.y) for thing in scene.things]) * scale + shift
    half = np.array([thing.extent for thing in scene.things])[:, None] * 0.5 * scale
    away = np.abs(centres[:, None] - middle) / (half + PATCH / 2)
    near = away.max(-1)
    nearest = near.argmin(1)
    covered = near.min(1) < 0.95
    visible = _visible(middle - half, middle + half)
    for index, thing in enumerate(scene.things):
        here = covered & (nearest == index)
        clear = visible[index] > 0.35
        classes[here, 0] = SHAPES.index(thing.shape) if clear else IGNORE
        classes[here, 1] = COLORS.index(thing.color)
        classes[here, 2] = SIZES.index(thing.size) if clear else IGNORE
        places[here, :2] = (middle[index] - centres[here]) / TILE
        places[here, 2:] = 2 * half[index] / TILE
    shown = visible > 0.35
    # Order and number can be told only where no object is cut off.
    if len(scene.things) <= 4 and not (shown & (visible < 0.98)).any() and not (~shown & (visible > 0)).any():
        _label_order(scene, shown, np.where(covered, nearest, -1), classes)


def _label_order(scene: Scene, shown: np.ndarray, owner: np.ndarray, classes: np.ndarray) -> None:
    order = sorted((index for index in range(len(scene.things)) if shown[index]), key=lambda at: scene.things[at].x)
    for rank, index in enumerate(order):
        here = owner == index
        classes[here, COLUMN["rank"]] = rank
        classes[here, COLUMN["total"]] = len(order) - 1
        if len(order) == 2:
            direction = clear_direction(scene.things[index], scene.things[order[1 - rank]])
            classes[here, COLUMN["relation"]] = DIRECTIONS.index(direction) if direction else IGNORE


def _visible(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    shown = np.clip(high, 0, TILE) - np.clip(low, 0, TILE)
    return (shown / (high - low)).prod(-1)


def _label_digits(numeral: Numeral, view: View, centres: np.ndarray, classes: np.ndarray, places: np.ndarray) -> None:
    boxes = np.array(numeral.boxes).reshape(-1, 2, 2) * np.array(view.scale) + np.array(view.shift)
    low, high = boxes[:, 0], boxes[:, 1]
    visible = _visible(low, high)
    tall = (high - low)[:, 1]
    clear = (visible > 0.6) & (tall >= _LEGIBLE[0]) & (tall <= _LEGIBLE[1])
    names = np.where(clear, np.array([int(digit) for digit in numeral.text]), IGNORE)
    upright = (centres[:, 1:] + PATCH / 2 > low[:, 1] + 2) & (centres[:, 1:] - PATCH / 2 < high[:, 1] - 2)
    whole = bool((visible > 0.9).all())
    for name, shift in (("left", -PATCH / 4), ("right", PATCH / 4)):
        here, owner = _owners(centres[:, :1] + shift, low[:, 0], high[:, 0], upright)
        classes[here, COLUMN[name]] = names[owner]
        classes[here, COLUMN[f"{name} slot"]] = owner if whole else IGNORE
        classes[here, COLUMN["total"]] = len(numeral.text) - 1 if whole else IGNORE
    here, owner = _owners(centres[:, :1], low[:, 0], high[:, 0], upright)
    places[here, :2] = (0.5 * (low + high)[owner] - centres[here]) / TILE
    places[here, 2:] = (high - low)[owner] / TILE


def _owners(point: np.ndarray, low: np.ndarray, high: np.ndarray, upright: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches [N] whose `point` lies in a digit cell, and that digit: the last one where cells overlap. `point` [P, 1],
    the cells' edges [D], `upright` [P, D].
    """
    inside = (point >= low) & (point < high) & upright
    here = np.flatnonzero(inside.any(1))
    return here, len(low) - 1 - inside[here, ::-1].argmax(1)
