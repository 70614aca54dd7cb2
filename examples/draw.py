"""Draws the pictures in this folder: `python examples/draw.py`.

A small program of its own, on purpose: it knows the rules of the drawn world (examples/README.md), and nothing of
the code that drew the pictures the models were trained on. Only the scans of handwritten digits come from the
package: those that no model has seen in training.
"""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw

from triptych.embedded.world import digits

HERE = Path(__file__).parent
COLORS = {
    "red": "#d62728", "orange": "#ff8c00", "yellow": "#ffdd00", "green": "#2ca02c",
    "blue": "#1f4fd8", "purple": "#800080", "black": "#141414", "gray": "#808080",
}  # fmt: skip
SMOOTH = 4


def points(shape: str) -> list[tuple[float, float]]:
    """Corners of a shape in a box from -0.5 to 0.5, x to the right and y down."""
    if shape == "square":
        return [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    if shape == "triangle":
        return [(0.0, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    if shape == "cross":
        quarter = [(0.16, -0.5), (0.16, -0.16), (0.5, -0.16)]
        return [turn(corner, 90 * side) for side in range(4) for corner in quarter]
    reach = [0.5 if step % 2 == 0 else 0.2 for step in range(10)]
    return [turn((0.0, -radius), 36 * step) for step, radius in enumerate(reach)]


def turn(point: tuple[float, float], degrees: float) -> tuple[float, float]:
    angle = math.radians(degrees)
    x, y = point
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def shapes(
    size: tuple[int, int], things: list[tuple[str, str, float, float, float, float]], outline: int = 0
) -> Image.Image:
    """A picture of (color, shape, centre x, centre y, side, degrees), in pixels, with smooth edges."""
    canvas = Image.new("RGB", (size[0] * SMOOTH, size[1] * SMOOTH), "#fdfdfa")
    pen = ImageDraw.Draw(canvas)
    for color, shape, x, y, side, degrees in things:
        x, y, side = x * SMOOTH, y * SMOOTH, side * SMOOTH
        edge = {"fill": COLORS[color], "outline": "#202020" if outline else None, "width": max(1, outline * SMOOTH)}
        if shape == "circle":
            pen.ellipse((x - side / 2, y - side / 2, x + side / 2, y + side / 2), **edge)
        else:
            turned = [turn(corner, degrees) for corner in points(shape)]
            pen.polygon([(x + side * a, y + side * b) for a, b in turned], **edge)
    return canvas.resize(size, Image.Resampling.LANCZOS)


def number(size: tuple[int, int], scans: list[int], left: int, top: int, height: int) -> Image.Image:
    """The digits of these scans beside each other, each `height` pixels high, dark on light."""
    canvas = Image.new("L", size, 252)
    for place, scan in enumerate(scans):
        paper = Image.fromarray(((1 - digits.glyphs()[scan]) * 210 + 42).astype("uint8"))
        canvas.paste(paper.resize((height, height), Image.Resampling.BICUBIC), (left + place * height, top))
    return canvas.convert("RGB")


def scans_of(text: str, nth: int) -> list[int]:
    """For each digit of `text`, the `nth` scan of it that was never trained on."""
    held_out = digits.held_out()
    return [[int(scan) for scan in held_out if digits.labels()[scan] == int(digit)][nth] for digit in text]


def main() -> None:
    two = [("red", "circle", 170, 190, 130, 0.0), ("blue", "star", 385, 170, 62, 0.0)]
    shapes((520, 360), two).save(HERE / "two-shapes.png", optimize=True)
    four = [
        ("green", "square", 130, 120, 165, 4.0), ("yellow", "triangle", 480, 330, 170, -6.0),
        ("purple", "cross", 500, 100, 75, 8.0), ("black", "circle", 200, 370, 70, 0.0),
    ]  # fmt: skip
    shapes((640, 480), four, outline=3).save(HERE / "four-shapes.jpg", quality=90)
    number((336, 336), scans_of("407", 5), 60, 120, 72).save(HERE / "large-number.png", optimize=True)
    number((672, 672), scans_of("25", 3), 380, 250, 36).save(HERE / "small-number.png", optimize=True)


if __name__ == "__main__":
    main()
