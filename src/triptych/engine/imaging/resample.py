"""Resizing with Pillow, exactly as resizing first and cutting (or padding first and resizing) would do it.

Pillow resizes one axis, rounds to bytes, then resizes the other, and each output pixel depends on few input
pixels. So what is cut away need not be computed, and constant padding need not be resized: a picture of one
pixel's height costs kilobytes instead of the gigabytes that the literal order of steps takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

BICUBIC = Image.Resampling.BICUBIC
# Resized side, in multiples of the square, up to which Pillow resizes the whole picture (60 MB at 336 px). Beyond
# it the horizontal axis goes first, as Pillow does it too wherever the shorter edge is not scaled down.
_WHOLE = 128
_LITERAL_EDGE = 4096  # squares up to this are padded for real
_BAND_PIXELS = 1 << 24
_ROWS = 4096
_PRECISION = 22  # bits after the point of Pillow's coefficients


def crop_after_resize(picture: Image.Image, side: int) -> Image.Image:
    """The centre `side` x `side` of `picture` (RGB) once its shorter edge has been resized to `side`."""
    width, height = picture.size
    short, long = min(width, height), max(width, height)
    new_long = int(side * long / short)
    start = (new_long - side) // 2
    wide = width > height
    if new_long <= _WHOLE * side:
        size = (new_long, side) if wide else (side, new_long)
        box = (start, 0, start + side, side) if wide else (0, start, side, start + side)
        return picture.resize(size, BICUBIC).crop(box)
    if wide:
        narrow = _resample_columns(np.asarray(picture), new_long, start, side)
        return Image.fromarray(narrow).resize((side, side), BICUBIC)
    rows = np.asarray(picture.resize((side, height), BICUBIC)).transpose(1, 0, 2)
    return Image.fromarray(_resample_columns(rows, new_long, start, side).transpose(1, 0, 2).copy())


def resize_after_pad(picture: Image.Image, side: int, colour: tuple[int, int, int]) -> Image.Image:
    """`picture` (RGB), centred on a square of `colour` as large as its longer edge, resized to `side`."""
    width, height = picture.size
    edge = max(width, height)
    left, top = (edge - width) // 2, (edge - height) // 2
    narrow = Image.new("RGB", (side, edge), colour)  # the square after the horizontal pass
    if width == edge:
        narrow.paste(picture.resize((side, height), BICUBIC), (0, top))
    elif edge > _LITERAL_EDGE and edge > 4 * width:
        # Most columns see only padding; those that see the picture reach over it by the filter's width.
        reach = 2 * max(edge / side, 1.0) + 1
        first = max(0, math.floor((left - reach) * side / edge))
        last = min(side, math.ceil((left + width + reach) * side / edge))
        columns = _resample_columns(np.asarray(picture), side, first, last - first, Padding(edge, left, colour))
        narrow.paste(Image.fromarray(columns), (first, 0))
    else:
        band = max(1, _BAND_PIXELS // edge)
        for first in range(0, edge, band):
            last = min(first + band, edge)
            rows = Image.new("RGB", (edge, last - first), colour)
            rows.paste(picture.crop((0, first, width, last)), (left, 0))
            narrow.paste(rows.resize((side, last - first), BICUBIC), (0, first))
    return narrow.resize((side, side), BICUBIC)


@dataclass(frozen=True, slots=True)
class Padding:
    """Rows of `width` pixels of one `colour`, in which the picture begins at column `left`."""

    width: int
    left: int
    colour: tuple[int, int, int]


def _resample_columns(
    pixels: np.ndarray, new_width: int, start: int, count: int, padding: Padding | None = None
) -> np.ndarray:
    """Columns `start ... start + count` of uint8 [H, W, 3] (padded) resized to `new_width`, in Pillow's bicubic.

    The recipe is that of Pillow's `Resample.c`: normalised Keys weights (a = -0.5), rounded to fixed point. The
    sums stay below 2**53, so that float64 has them exactly.
    """
    height, inner, _ = pixels.shape
    width, left = (padding.width, padding.left) if padding else (inner, 0)
    colour = np.array(padding.colour if padding else (0, 0, 0), dtype=np.float64)
    scale = width / new_width
    stretch = max(scale, 1.0)
    columns = np.empty((height, count, 3), dtype=np.uint8)
    for index in range(count):
        centre = (start + index + 0.5) * scale
        low = max(0, int(centre - 2.0 * stretch + 0.5))
        high = min(width, int(centre + 2.0 * stretch + 0.5))
        weights = _fixed_weights(low, high, centre, stretch)
        inside = slice(max(low, left), max(low, left, min(high, left + inner)))
        seen = weights[inside.start - low : inside.stop - low]
        base = (weights.sum() - seen.sum()) * colour + (1 << (_PRECISION - 1))
        for row in range(0, height, _ROWS):
            part = pixels[row : row + _ROWS, inside.start - left : inside.stop - left].astype(np.float64)
            total = (np.tensordot(seen, part, axes=(0, 1)) + base).astype(np.int64)
            columns[row : row + _ROWS, index] = np.clip(total >> _PRECISION, 0, 255)
    return columns


def _fixed_weights(low: int, high: int, centre: float, stretch: float) -> np.ndarray:
    """Whole numbers, as float64 [high - low], that add up to about 2 ** _PRECISION."""
    weights = _keys((np.arange(low, high) - centre + 0.5) * (1.0 / stretch))
    total = 0.0
    for weight in weights:  # in order, as C does; numpy's pairwise sum rounds differently
        total += float(weight)
    return np.trunc(weights * (1.0 / total) * (1 << _PRECISION) + np.where(weights < 0, -0.5, 0.5))


def _keys(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5, as float64."""
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))

