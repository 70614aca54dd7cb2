"""Pictures that are not of the drawn world: noise, clouds, gradients, scribbles, print. The models learn to say so."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter


def draw_foreign(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Draw something that a photograph or a document might look like from afar."""
    kind = int(rng.integers(5))
    if kind == 0:
        return _clouds(rng, width, height)
    if kind == 1:
        return _print(rng, width, height)
    canvas = _clouds(rng, width, height) if kind < 4 else Image.new("RGB", (width, height), _any_color(rng))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(6, 60))):
        x, y = rng.uniform(-0.1, 1.1, 2) * (width, height)
        w, h = np.exp(rng.uniform(-4, -0.5, 2)) * (width, height)
        shape = int(rng.integers(3))
        if shape == 0:
            pen.rectangle((x, y, x + w, y + h), fill=_any_color(rng))
        elif shape == 1:
            pen.ellipse((x, y, x + w, y + h), fill=_any_color(rng))
        else:
            points = [tuple(point) for point in rng.uniform(0, 1, (int(rng.integers(2, 7)), 2)) * (width, height)]
            pen.line(points, fill=_any_color(rng), width=int(rng.integers(1, 6)))
    return canvas


def _any_color(rng: np.random.Generator) -> tuple[int, int, int]:
    return tuple(int(value) for value in rng.integers(0, 256, 3))


def _clouds(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    small = rng.standard_normal((48, 48, 3))
    total = np.zeros_like(small)
    for sigma in (0.7, 2.0, 5.0, 11.0):
        layer = gaussian_filter(small, (sigma, sigma, 0))
        total += rng.uniform(0, 1) * layer / (layer.std() + 1e-6)
    gray = total.mean(-1, keepdims=True)
    total = gray + rng.uniform(0, 1) * (total - gray) + rng.standard_normal(3) * 0.5
    pixels = np.clip(rng.uniform(70, 170) + rng.uniform(25, 60) * total, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def _print(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    canvas = Image.new("RGB", (width, height), (255, 255, 255) if rng.random() < 0.5 else _any_color(rng))
    pen = ImageDraw.Draw(canvas)
    size = int(rng.integers(8, 20))
    ink = _any_color(rng)
    for y in range(4, height, int(size * 1.5)):
        word = "".join(chr(int(code)) for code in rng.choice([32, *range(97, 123)], size=width // max(3, size // 2)))
        pen.text((4, y), word, fill=ink, font_size=size)
    return canvas
