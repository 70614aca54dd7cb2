"""The handwritten digits: scikit-learn's 1,797 scans of 8x8 pixels in 17 grays (UCI optical recognition data).

The first 80 % (in the data set's order) may be trained on. The last 20 % never are: tests and evaluation draw
with those.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np

SIDE = 8
_TRAINED_SHARE = 0.8


@cache
def glyphs() -> np.ndarray:
    """All scans as ink from 0 (paper) to 1, float32 [1797, 8, 8]."""
    return _read("images").astype(np.float32) / 16


@cache
def labels() -> np.ndarray:
    """The digit that each scan shows, int64 [1797]."""
    return _read("labels").astype(np.int64)


def trained() -> np.ndarray:
    """Indices of the scans that training may draw with."""
    return np.arange(int(len(labels()) * _TRAINED_SHARE))


def held_out() -> np.ndarray:
    """Indices of the scans that no model has seen."""
    return np.arange(int(len(labels()) * _TRAINED_SHARE), len(labels()))


def _read(name: str) -> np.ndarray:
    with resources.files(__package__).joinpath("digits.npz").open("rb") as file, np.load(file) as data:
        return data[name]
