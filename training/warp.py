"""Other people's handwriting out of the scans at hand: turn, shear, stretch, bend, thicken."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

from triptych.embedded.world.digits import SIDE, glyphs, trained

_FINE = 4


class Bank:
    """Many variations of every scan, made beforehand: drawing then only picks one."""

    def __init__(self, variations: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        ink = [[warp_glyph(scan, self._rng) for _ in range(variations)] for scan in glyphs()[trained()]]
        self.ink = np.array(ink, np.float32)

    def renew(self) -> None:
        """Make one variation of every scan anew."""
        place = self._rng.integers(self.ink.shape[1])
        for index, scan in enumerate(glyphs()[trained()]):
            self.ink[index, place] = warp_glyph(scan, self._rng)

    def pick(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """One variation [8, 8] of the trained scan `index`."""
        return self.ink[index, int(rng.integers(self.ink.shape[1]))]


def warp_glyph(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary one scan [8, 8] of ink from 0 to 1; the result has the same size, as if scanned again."""
    if rng.random() < 0.25:
        return ink
    fine = zoom(ink, _FINE, order=1, grid_mode=True, mode="grid-constant")
    side = SIDE * _FINE
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    turn, shear = math.radians(rng.normal(0, 5)), rng.normal(0, 0.09)
    stretch_x, stretch_y = np.exp(rng.normal(0, 0.07, 2))
    source_x = (math.cos(turn) * x + math.sin(turn) * y) * stretch_x + shear * y + rng.normal(0, 0.2) * _FINE
    source_y = (-math.sin(turn) * x + math.cos(turn) * y) * stretch_y + rng.normal(0, 0.12) * _FINE
    bend = rng.uniform(0, 0.8) * _FINE
    source_x = source_x + bend * gaussian_filter(rng.standard_normal((side, side)), 5.5) * 10
    source_y = source_y + bend * gaussian_filter(rng.standard_normal((side, side)), 5.5) * 10
    middle = (side - 1) / 2
    fine = map_coordinates(fine, [source_y + middle, source_x + middle], order=1, mode="constant")
    scanned = fine.reshape(SIDE, _FINE, SIDE, _FINE).mean((1, 3))
    # Thicker or thinner strokes, paler or darker ink.
    scanned = np.clip(scanned, 0, 1) ** math.exp(rng.normal(0, 0.2)) * rng.uniform(0.88, 1.12)
    return np.clip(scanned, 0, 1).astype(np.float32)
