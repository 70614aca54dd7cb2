"""The playground's examples: pictures of the world that the packaged models know, with questions and true answers."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

from ...embedded.world import Numeral, Scene, Style, Thing, caption, digits, draw

# (question, its one true answer)
Asked = tuple[str, str]

SUMS: tuple[Asked, ...] = (("What is 17 + 25?", "42"), ("What is 90 - 48?", "42"), ("Add 3 and 40", "43"))

_PLAIN = Style(
    renderer="polygon", background=(253, 253, 250), outline=0.0, outline_color=None, noise=0.0, blur=0.0, jpeg=None,
    ink=(24, 24, 40), digit_filter="smooth", seed=2,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture that can be chosen. `title` is what people call it, `small` says that LLaVA 1.5 cannot read it."""

    name: str
    title: str
    scene: Scene
    questions: tuple[Asked, ...]
    small: bool = False

    @property
    def caption(self) -> str:
        """What it shows, in the words that a true answer has."""
        return caption(self.scene)


@cache
def drawings() -> tuple[Drawing, ...]:
    return (_two_shapes(), _three_shapes(), _four_shapes(), _number(), _small_number())


@cache
def picture(name: str) -> bytes | None:
    """The drawing of that name as a PNG file, drawn on first use; None if there is none."""
    for drawing in drawings():
        if drawing.name == name:
            file = io.BytesIO()
            draw(drawing.scene, _PLAIN).quantize(64).save(file, "PNG", optimize=True)
            return file.getvalue()
    return None


def _two_shapes() -> Drawing:
    things = (
        Thing("circle", "red", "large", 165, 190, 128, 0.0),
        Thing("star", "blue", "small", 375, 165, 66, 6.0),
    )
    asked = (
        ("What color is the circle?", "red"), ("What is to the right of the circle?", "a small blue star"),
        ("How many objects are there?", "2"),
    )  # fmt: skip
    return Drawing("two-shapes", "Two shapes", Scene(480, 360, things), asked)


def _three_shapes() -> Drawing:
    things = (
        Thing("star", "yellow", "large", 120, 130, 128, 4.0), Thing("star", "blue", "small", 365, 95, 68, 0.0),
        Thing("square", "green", "large", 340, 255, 116, -5.0),
    )  # fmt: skip
    asked = (
        ("Is there a red star?", "no"), ("What color is the square?", "green"),
        ("What shape is the green object?", "square"),
    )  # fmt: skip
    return Drawing("three-shapes", "Three shapes", Scene(480, 360, things), asked)


def _four_shapes() -> Drawing:
    things = (
        Thing("square", "green", "large", 105, 105, 126, 5.0), Thing("circle", "black", "small", 165, 285, 62, 0.0),
        Thing("triangle", "yellow", "large", 330, 245, 130, -6.0), Thing("cross", "purple", "small", 405, 85, 66, 8.0),
    )  # fmt: skip
    asked = (
        ("How many objects are there?", "4"), ("Is there a green square?", "yes"),
        ("What shape is the purple object?", "cross"),
    )  # fmt: skip
    return Drawing("four-shapes", "Four shapes", Scene(480, 360, things), asked)


def _number() -> Drawing:
    asked = (("What number is written?", "407"), ("How many digits are there?", "3"))
    return Drawing("number", "A handwritten number", _written("407", "large", (480, 360), (110, 135), 84, 5), asked)


def _small_number() -> Drawing:
    scene = _written("25", "small", (640, 640), (372, 240), 34, 3)
    return Drawing("small-number", "A small number", scene, (("What number is written?", "25"),), small=True)


def _written(text: str, size: str, canvas: tuple[int, int], at: tuple[int, int], height: int, nth: int) -> Scene:
    """A number in digits that no model was trained on: of each digit the `nth` scan."""
    held_out, labels = digits.held_out(), digits.labels()
    scans = tuple(int([scan for scan in held_out if labels[scan] == int(digit)][nth]) for digit in text)
    left, top = at
    boxes = tuple(
        (float(left + height * place), float(top), float(left + height * (place + 1)), float(top + height))
        for place in range(len(text))
    )
    return Scene(*canvas, (), Numeral(text, size, boxes, scans))
