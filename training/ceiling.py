"""How well plain classifiers read the exams' numbers: python -m training.ceiling (needs scikit-learn).

They see each digit alone, undisturbed and in place, which no model of pictures does, and learn from the same scans.
What all of them misread was written unlike anything in those, and the share of numbers that the best of them reads
whole, chosen by these very digits, says what may be asked of a model that has never met them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from scipy.ndimage import rotate, shift
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from triptych.embedded.world import digits
from triptych.embedded.world.scene import sample_number

_STEPS = ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5), (1, 0), (-1, 0))
_TURNS = (-10, 10)
Classifier = SVC | KNeighborsClassifier


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4000, help="numbers to draw")
    parser.add_argument("--seed", type=int, default=2024)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    drawn = [sample_number(rng, digits.labels(), digits.held_out(), "large").numeral for _ in range(args.count)]
    numbers = [list(numeral.glyphs) for numeral in drawn if numeral]
    for name, classifier, variations in classifiers():
        right = read_rightly(classifier, variations)
        whole = np.mean([right[number].all() for number in numbers])
        print(f"{name:28} {right[digits.held_out()].mean():.3f} of digits, {whole:.3f} of numbers")


if __name__ == "__main__":
    main()
