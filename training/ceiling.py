"""How well plain classifiers read the exams' numbers: python -m training.ceiling (needs scikit-learn).

They see each digit alone and in place, which no model of pictures does, and learn from the same scans: large digits as
they were scanned, undisturbed, and with `--small` the small ones as they stand on the tiles of LLaVA 1.6. What all of
them misread was written unlike anything in those, and the share of numbers that the best of them reads whole, chosen by
these very digits, says what may be asked of a model that has never met them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy.ndimage import rotate, shift
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from training.prepare import anyres_views
from training.shapes import GRID
from training.warp import Bank
from triptych.embedded.world import digits
from triptych.embedded.world.draw import draw, sample_style
from triptych.embedded.world.scene import sample_number

_STEPS = ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5), (1, 0), (-1, 0))
_TURNS = (-10, 10)
Classifier = SVC | KNeighborsClassifier
# Small digits are cut out at this width and height, and the classifiers learn them from so many numbers.
_CUT = 12
_LESSONS = 5000


def varied(scans: np.ndarray) -> np.ndarray:
    """The scans [N, 8, 8], and copies moved by up to a pixel and turned by ten degrees. [9 N, 8, 8]."""
    moved = [np.stack([shift(scan, step, order=1) for scan in scans]) for step in _STEPS]
    turned = [np.stack([rotate(scan, turn, reshape=False, order=1) for scan in scans]) for turn in _TURNS]
    return np.concatenate([scans, *moved, *turned])


def classifiers() -> Iterator[tuple[str, Classifier, bool]]:
    """Name, classifier, and whether it learns from varied scans."""
    for name, variations in (("as they are", False), ("moved and turned", True)):
        for near in (1, 3):
            yield f"{near} nearest, {name}", KNeighborsClassifier(near), variations
        for gamma in (0.1, 0.2, 0.3):
            yield f"SVM {gamma}, {name}", SVC(gamma=gamma, C=10), variations


def read_rightly(classifier: Classifier, variations: bool) -> np.ndarray:
    """Which of all scans are held out and read rightly once the others were learned. bool [1797]."""
    scans, names = digits.glyphs(), digits.labels()
    lessons, answers = scans[digits.trained()], names[digits.trained()]
    if variations:
        lessons = varied(lessons)
        answers = np.tile(answers, len(lessons) // len(answers))
    classifier.fit(lessons.reshape(len(lessons), -1), answers)
    held = digits.held_out()
    right = np.zeros(len(scans), bool)
    right[held] = classifier.predict(scans[held].reshape(len(held), -1)) == names[held]
    return right


def small_digits(
    rng: np.random.Generator, count: int, allowed: np.ndarray, bank: Bank | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw `count` pictures of a small number and cut its digits out of what 1.6 sees: ink from 0 to 1 [N, 144], what
    each shows [N], and the number that it belongs to [N].
    """
    cuts, names, owners = [], [], []
    for owner in range(count):
        scene = sample_number(rng, digits.labels(), allowed, "small")
        views, grid = anyres_views(draw(scene, sample_style(rng), bank.pick if bank else None), GRID)
        tiles = np.stack([view.pixels for view in views[1:]])
        rows = tiles.reshape(grid.tiles_down, grid.tiles_across, *tiles.shape[1:]).swapaxes(1, 2)
        seen = Image.fromarray(rows.reshape(rows.shape[0] * rows.shape[1], -1, 3)).convert("L")
        numeral = scene.numeral
        assert numeral is not None
        boxes = np.array(numeral.boxes).reshape(-1, 2, 2) * views[1].scale + views[1].shift
        for box, digit in zip(boxes.clip(0, seen.size).reshape(-1, 4), numeral.text, strict=True):
            cut = np.asarray(seen.resize((_CUT, _CUT), Image.Resampling.BILINEAR, box=tuple(box)), np.float32)
            cuts.append((cut.max() - cut).ravel() / max(1.0, np.ptp(cut)))
            names.append(int(digit))
            owners.append(owner)
    return np.array(cuts), np.array(names), np.array(owners)


def measure_large(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = [sample_number(rng, digits.labels(), digits.held_out(), "large").numeral for _ in range(count)]
    numbers = [list(numeral.glyphs) for numeral in drawn if numeral]
    for name, classifier, variations in classifiers():
        right = read_rightly(classifier, variations)
        whole = np.mean([right[number].all() for number in numbers])
        print(f"{name:28} {right[digits.held_out()].mean():.3f} of digits, {whole:.3f} of numbers")


def measure_small(seed: int, count: int) -> None:
    lessons, answers, _ = small_digits(np.random.default_rng(seed + 1), _LESSONS, digits.trained(), Bank(6, seed))
    asked, names, owners = small_digits(np.random.default_rng(seed), count, digits.held_out(), None)
    for gamma in (0.02, 0.03, 0.06):
        right = SVC(gamma=gamma, C=10).fit(lessons, answers).predict(asked) == names
        whole = np.mean([right[owners == owner].all() for owner in range(count)])
        print(f"{f'SVM {gamma}, small digits':28} {right.mean():.3f} of digits, {whole:.3f} of numbers", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small numbers on the tiles of 1.6 instead of large ones")
    parser.add_argument("--count", type=int, default=4000, help="numbers to draw")
    parser.add_argument("--seed", type=int, default=2024)
    args = parser.parse_args()
    (measure_small if args.small else measure_large)(args.seed, args.count)


if __name__ == "__main__":
    main()
