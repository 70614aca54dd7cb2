"""Resizing with Pillow, exactly as resizing first and cutting (or padding first and resizing) would do it.

Pillow resizes one axis, rounds to bytes, then resizes the other, and each output pixel depends on few input
pixels. So what is cut away need not be computed, and constant padding need not be resized: a picture of one
pixel's height costs kilobytes instead of the gigabytes that the literal order of steps takes.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

BICUBIC = Image.Resampling.BICUBIC
# Resized side, in multiples of the square, up to which Pillow resizes the whole picture (60 MB at 336 px). Beyond
# it the horizontal axis goes first, as Pillow does it too wherever the shorter edge is not scaled down.
_WHOLE = 128
_BAND_PIXELS = 1 << 24
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
        return narrow.resize((side, side), BICUBIC)
    band = max(1, _BAND_PIXELS // edge)
    for first in range(0, edge, band):
        last = min(first + band, edge)
        rows = Image.new("RGB", (edge, last - first), colour)
        rows.paste(picture.crop((0, first, width, last)), (left, 0))
        narrow.paste(rows.resize((side, last - first), BICUBIC), (0, first))
    return narrow.resize((side, side), BICUBIC)


def _resample_columns(pixels: np.ndarray, new_width: int, start: int, count: int) -> np.ndarray:
    """Columns `start ... start + count` of uint8 [H, W, 3] resized to `new_width`, in Pillow's bicubic.

    The recipe is that of Pillow's `Resample.c`: normalised Keys weights (a = -0.5), rounded to fixed point.
    """
    width = pixels.shape[1]
    scale = width / new_width
    stretch = max(scale, 1.0)
    support = 2.0 * stretch
    columns = np.empty((pixels.shape[0], count, 3), dtype=np.uint8)
    for index in range(count):
        centre = (start + index + 0.5) * scale
        low = max(0, int(centre - support + 0.5))
        high = min(width, int(centre + support + 0.5))
        weights = _keys((np.arange(low, high) - centre + 0.5) * (1.0 / stretch))
        weights /= _running_sum(weights)
        fixed = np.trunc(weights * (1 << _PRECISION) + np.where(weights < 0, -0.5, 0.5)).astype(np.int64)
        total = np.tensordot(fixed, pixels[:, low:high].astype(np.int64), axes=(0, 1))
        columns[:, index] = np.clip((total + (1 << (_PRECISION - 1))) >> _PRECISION, 0, 255)
    return columns


def _keys(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5, as float64."""
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _running_sum(values: np.ndarray) -> float:
    total = 0.0
    for value in values:  # in order, as C does; numpy's pairwise sum rounds differently
        total += float(value)
    return total
