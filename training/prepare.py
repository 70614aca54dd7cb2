"""The pixels that the models see of a picture: exactly what the saved processor configurations make of it, before
normalisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.shapes import MEAN, PINPOINTS, TILE

_PAD_COLOR = tuple(int(value * 255) for value in MEAN)


@dataclass(frozen=True)
class View:
    """One tile: pixels uint8 [S, S, 3], and how a picture's point lands in it: tile = scale * picture + shift, as
    (x, y).
    """

    pixels: np.ndarray
    scale: tuple[float, float]
    shift: tuple[float, float]


@dataclass(frozen=True)
class Grid:
    """The tiles of a picture and the rows and columns of features that remain of them when the padding is cut away."""

    tiles_down: int
    tiles_across: int
    rows: tuple[int, int]
    columns: tuple[int, int]


def padded_view(image: Image.Image) -> View:
    """LLaVA 1.5: centre the picture on a square of the mean colour, resize to one tile."""
    width, height = image.size
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    square = Image.new("RGB", (side, side), _PAD_COLOR)
    square.paste(image, (left, top))
    scale = TILE / side
    return View(_resize(square, TILE, TILE), (scale, scale), (left * scale, top * scale))


def best_resolution(width: int, height: int) -> tuple[int, int]:
    """The (height, width) of `PINPOINTS` that keeps most of the picture's pixels, then wastes least."""
    best, best_fit = PINPOINTS[0], (-1, 0)
    for tall, wide in PINPOINTS:
        scale = min(wide / width, tall / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        if (kept, kept - tall * wide) > best_fit:
            best, best_fit = (tall, wide), (kept, kept - tall * wide)
    return best


def anyres_views(image: Image.Image, patches: int) -> tuple[list[View], Grid]:
    """LLaVA 1.6: the squashed picture first, then its tiles row by row; `patches` per tile side for the grid."""
    width, height = image.size
    tall, wide = best_resolution(width, height)
    across, down = wide / width, tall / height
    if across < down:
        new_width, new_height = wide, min(math.ceil(height * across), tall)
    else:
        new_width, new_height = min(math.ceil(width * down), wide), tall
    left, top = (wide - new_width) // 2, (tall - new_height) // 2
    canvas = np.zeros((tall, wide, 3), np.uint8)
    canvas[top : top + new_height, left : left + new_width] = _resize(image, new_width, new_height)
    views = [View(_resize(image, TILE, TILE), (TILE / width, TILE / height), (0.0, 0.0))]
    scale = (new_width / width, new_height / height)
    for y in range(0, tall, TILE):
        for x in range(0, wide, TILE):
            views.append(View(canvas[y : y + TILE, x : x + TILE], scale, (left - x, top - y)))
    return views, _kept(width, height, tall // TILE, wide // TILE, patches)


def _kept(width: int, height: int, down: int, across: int, patches: int) -> Grid:
    rows, columns = down * patches, across * patches
    if width / height > columns / rows:
        cut = (rows - int(round(height * (columns / width), 7))) // 2
        return Grid(down, across, (cut, rows - cut), (0, columns))
    cut = (columns - int(round(width * (rows / height), 7))) // 2
    return Grid(down, across, (0, rows), (cut, columns - cut))


def _resize(image: Image.Image, width: int, height: int) -> np.ndarray:
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
