"""Crowded tiles teach what they show: numbers apart from each other, and labels that name the digits under them."""

import numpy as np
import pytest
from training.crowd import make_crowd, small_numbers
from training.prepare import View
from training.shapes import GRID, PATCH, TILE
from training.targets import COLUMN, IGNORE, NO_DIGIT, targets_of
from training.vision import KEPT
from training.warp import Bank

from triptych.embedded.world.scene import Scene

_WHOLE = View(np.zeros((TILE, TILE, 3), np.uint8), (1.0, 1.0), (0.0, 0.0))


@pytest.fixture(scope="module")
def bank() -> Bank:
    return Bank(1, 4)


@pytest.mark.parametrize("seed", range(8))
def test_numbers_of_a_page_stand_apart_and_within_the_tile(seed: int) -> None:
    numerals = small_numbers(np.random.default_rng(seed), TILE)
    hulls = np.array([(*numeral.boxes[0][:2], *numeral.boxes[-1][2:]) for numeral in numerals])
    assert len(hulls) >= 4
    assert (hulls >= 0).all()
    assert (hulls <= TILE).all()
    for index, (left, top, right, bottom) in enumerate(hulls):
        others = np.delete(hulls, index, axis=0)
        apart = (others[:, 2] < left) | (others[:, 0] > right) | (others[:, 3] < top) | (others[:, 1] > bottom)
        assert apart.all()


def test_most_pages_fit_in_the_patches_that_the_first_lessons_look_at() -> None:
    rng = np.random.default_rng(0)
    shown = []
    for _ in range(40):
        labels = targets_of(Scene(TILE, TILE), _WHOLE, small_numbers(rng, TILE))
        shown.append(int((~np.isnan(labels.places[:, 0])).sum()))
    assert np.quantile(shown, 0.75) <= KEPT < GRID * GRID


def test_labels_name_the_digit_that_lies_there_and_its_slot() -> None:
    numerals = small_numbers(np.random.default_rng(3), TILE)
    classes = targets_of(Scene(TILE, TILE), _WHOLE, numerals).classes.reshape(GRID, GRID, -1)
    named = 0
    for name, shift in (("left", -PATCH / 4), ("right", PATCH / 4)):
        for row, column in np.ndindex(GRID, GRID):
            label = classes[row, column, COLUMN[name]]
            if label in (IGNORE, NO_DIGIT):
                continue
            x = column * PATCH + PATCH / 2 + shift
            under = {
                (int(digit), slot)
                for numeral in numerals
                for slot, (box, digit) in enumerate(zip(numeral.boxes, numeral.text, strict=True))
                if box[0] <= x < box[2] and box[1] < (row + 1) * PATCH and box[3] > row * PATCH
            }
            assert (label, classes[row, column, COLUMN[f"{name} slot"]]) in under
            named += 1
    assert named > 20


def test_a_crowd_says_nothing_of_the_whole_picture(bank: Bank) -> None:
    rng = np.random.default_rng(5)
    for _ in range(12):
        pixels, classes, places = make_crowd(rng, bank)
        assert pixels.shape == (TILE, TILE, 3)
        assert pixels.std() > 1
        assert (classes[:, [COLUMN[name] for name in ("size", "rank", "relation")]] == IGNORE).all()
        assert not np.isnan(places[:, 0]).all()


def test_a_renewed_bank_keeps_all_but_one_variation_of_each_scan() -> None:
    bank = Bank(3, 4)
    before = bank.ink.copy()
    bank.renew()
    changed = (bank.ink != before).any(axis=(2, 3))
    assert changed.any(axis=0).sum() == 1
    assert changed.sum() > 0.5 * len(before)
