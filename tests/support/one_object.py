"""Pictures of the drawn world at their plainest: one large object, so that every model knows what it sees."""

from pathlib import Path

from PIL import Image, ImageDraw

PICTURES = {("red", "circle"): "#d62728", ("blue", "square"): "#1f4fd8", ("green", "triangle"): "#2ca02c"}


def draw(color: str, shape: str, side: int = 240) -> Image.Image:
    """One of `PICTURES`, `side` pixels wide and high, the object in the middle and a third as wide."""
    canvas = Image.new("RGB", (side, side), "#ffffff")
    pen, fill = ImageDraw.Draw(canvas), PICTURES[color, shape]
    low, high = round(side * 0.32), round(side * 0.68)
    if shape == "circle":
        pen.ellipse((low, low, high, high), fill=fill)
    elif shape == "square":
        pen.rectangle((low, low, high, high), fill=fill)
    else:
        pen.polygon([((low + high) / 2, low), (high, high), (low, high)], fill=fill)
    return canvas


def write_all(folder: Path) -> list[Path]:
    """All of them as files named `red-circle.png`."""
    files = []
    for color, shape in PICTURES:
        files.append(folder / f"{color}-{shape}.png")
        draw(color, shape).save(files[-1])
    return files
