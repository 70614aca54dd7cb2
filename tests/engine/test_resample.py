"""The shortcuts in resizing against the literal order of steps."""

from __future__ import annotations

import numpy as np
import pytest
from picture_files import noise
from PIL import Image

from triptych.engine.imaging import resample
from triptych.engine.imaging.resample import BICUBIC, crop_after_resize, resize_after_pad

SIDE = 28
COLOUR = (122, 116, 104)
SIZES = [(1, 1), (28, 28), (29, 300), (300, 29), (640, 480), (480, 640), (97, 31), (31, 97), (1000, 999), (13, 13)]
THIN = [(2000, 1), (1, 2000), (500, 3), (3, 500), (3000, 20), (20, 3000), (999, 7), (7, 999)]


def literal_crop(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    long = int(SIDE * max(width, height) / min(width, height))
    start = (long - SIDE) // 2
    if width > height:
        return picture.resize((long, SIDE), BICUBIC).crop((start, 0, start + SIDE, SIDE))
    return picture.resize((SIDE, long), BICUBIC).crop((0, start, SIDE, start + SIDE))


def literal_pad(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    edge = max(width, height)
    square = Image.new("RGB", (edge, edge), COLOUR)
    square.paste(picture, ((edge - width) // 2, (edge - height) // 2))
    return square.resize((SIDE, SIDE), BICUBIC)


@pytest.mark.parametrize("size", [*SIZES, *THIN])
@pytest.mark.parametrize("whole", [0, 128])
def test_crop(size: tuple[int, int], whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if whole == 0 and size in SIZES:
        return  # such pictures always go through Pillow as a whole
    monkeypatch.setattr(resample, "_WHOLE", whole)
    picture = noise(*size)
    assert np.array_equal(crop_after_resize(picture, SIDE), literal_crop(picture))


@pytest.mark.parametrize("size", [*SIZES, *THIN])
@pytest.mark.parametrize("band", [1, 3000, 1 << 24])
def test_pad(size: tuple[int, int], band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if size == (1, 2000) and band == 1:
        return  # two thousand bands of one row: slow, and shown by the other thin pictures
    monkeypatch.setattr(resample, "_BAND_PIXELS", band)
    picture = noise(*size)
    assert np.array_equal(resize_after_pad(picture, SIDE, COLOUR), literal_pad(picture))


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (3, 500), (20, 3000), (7, 999), (100, 700), (9, 41)])
def test_pad_of_thin_pictures(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "_LITERAL_EDGE", 0)
    monkeypatch.setattr(resample, "_ROWS", 64)
    picture = noise(*size)
    assert np.array_equal(resize_after_pad(picture, SIDE, COLOUR), literal_pad(picture))


@pytest.mark.parametrize("size", [(65_535, 1), (1, 65_535), (65_535, 40), (40, 65_535)])
def test_extremely_thin_pictures_take_little(size: tuple[int, int]) -> None:
    """Literally these are 22 million pixels along one side (crop) or four thousand million in all (pad)."""
    picture = noise(*size)
    assert crop_after_resize(picture, 336).size == (336, 336)
    assert resize_after_pad(picture, SIDE, COLOUR).size == (SIDE, SIDE)
