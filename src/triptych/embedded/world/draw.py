"""Drawing a scene as a picture, in the many ways in which people and programs draw."""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from triptych.embedded.world.digits import glyphs
from triptych.embedded.world.scene import Numeral, Scene, Thing

Color = tuple[int, int, int]
# Fractions of a unit box that is centred at 0: x right, y down.
Outline = list[tuple[float, float]]

# What programs call these colours: CSS, a plotting library, a flat design palette.
_NAMED: dict[str, tuple[Color, ...]] = {
    "red": ((255, 0, 0), (214, 39, 40), (220, 40, 40), (231, 76, 60), (200, 20, 30)),
    "orange": ((255, 165, 0), (255, 127, 14), (245, 130, 30), (230, 126, 34), (255, 140, 0)),
    "yellow": ((255, 255, 0), (255, 221, 0), (241, 210, 15), (250, 220, 50), (255, 235, 59)),
    "green": ((0, 128, 0), (44, 160, 44), (46, 174, 80), (0, 170, 60), (0, 200, 0), (0, 255, 0)),
    "blue": ((0, 0, 255), (31, 119, 180), (40, 80, 220), (52, 110, 219), (30, 60, 200), (33, 150, 243)),
    "purple": ((128, 0, 128), (148, 103, 189), (142, 68, 173), (120, 40, 170), (150, 30, 200)),
    "black": ((0, 0, 0), (20, 20, 20), (30, 30, 30)),
    "gray": ((128, 128, 128), (127, 127, 127), (150, 150, 150), (110, 110, 110), (160, 160, 160)),
}
# Hue in degrees, saturation, value.
_RANGES = {
    "red": ((-10, 7), (0.75, 1.0), (0.7, 1.0)),
    "orange": ((22, 39), (0.75, 1.0), (0.88, 1.0)),
    "yellow": ((50, 62), (0.65, 1.0), (0.88, 1.0)),
    "green": ((95, 155), (0.55, 1.0), (0.42, 0.9)),
    "blue": ((204, 245), (0.65, 1.0), (0.5, 1.0)),
    "purple": ((268, 302), (0.42, 1.0), (0.42, 0.85)),
}
_SUPERSAMPLE = 3


@dataclass(frozen=True)
class Style:
    """How one picture is drawn. Widths are fractions of the shorter side; `renderer` is one of `RENDERERS`."""

    renderer: str
    background: Color
    outline: float
    outline_color: Color | None
    noise: float
    blur: float
    jpeg: int | None
    ink: Color
    digit_filter: str
    seed: int


def _rgb(values: Iterable[float]) -> Color:
    red, green, blue = (int(np.clip(value, 0, 255)) for value in values)
    return red, green, blue


def sample_style(rng: np.random.Generator) -> Style:
    """Draw a style within the rules: light background, thin dark outline or none, mild noise, blur and JPEG."""
    if rng.random() < 0.45:
        background: Color = (255, 255, 255)
    else:
        light = int(rng.integers(222, 256))
        background = _rgb(max(215, light + int(rng.integers(-14, 15))) for _ in range(3))
    dark = int(rng.integers(0, 70))
    color = (dark, dark, dark) if rng.random() < 0.7 else _rgb(rng.integers(0, 80, size=3))
    ink_dark = int(rng.integers(0, 80))
    ink = (ink_dark, ink_dark, ink_dark) if rng.random() < 0.75 else _rgb(rng.integers(0, 110, size=3))
    return Style(
        renderer=str(rng.choice(["polygon", "aliased", "distance"], p=[0.45, 0.2, 0.35])),
        background=background,
        outline=float(rng.uniform(0.004, 0.018)) if rng.random() < 0.45 else 0.0,
        outline_color=color if rng.random() < 0.75 else None,
        noise=float(rng.uniform(1, 8)) if rng.random() < 0.25 else 0.0,
        blur=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.1 else 0.0,
        jpeg=int(rng.integers(55, 96)) if rng.random() < 0.45 else None,
        ink=ink,
        digit_filter=str(
            rng.choice(["nearest", "bilinear", "bicubic", "lanczos", "smooth"], p=[0.14, 0.22, 0.3, 0.14, 0.2])
        ),
        seed=int(rng.integers(2**31)),
    )


def sample_color(rng: np.random.Generator, name: str) -> Color:
    """Draw one RGB value that people call by this name."""
    if rng.random() < 0.4:
        named = _NAMED[name]
        base = named[int(rng.integers(len(named)))]
        return _rgb(value + int(rng.integers(-6, 7)) for value in base)
    if name in ("black", "gray"):
        level = rng.uniform(0, 34) if name == "black" else rng.uniform(100, 168)
        return _rgb(level + rng.uniform(-5, 5) for _ in range(3))
    hue, saturation, value = (rng.uniform(*limits) for limits in _RANGES[name])
    return _rgb(round(255 * part) for part in colorsys.hsv_to_rgb((hue % 360) / 360, saturation, value))


GlyphInk = Callable[[int, np.random.Generator], np.ndarray]


def draw(scene: Scene, style: Style, ink: GlyphInk | None = None) -> Image.Image:
    """Draw `scene` in `style` as an RGB picture of the scene's size.

    `ink` may give another ink (float [8, 8] from 0 to 1) for the scan of an index; training varies handwriting with it.
    """
    rng = np.random.default_rng(style.seed)
    if scene.things:
        canvas = RENDERERS[style.renderer](scene, style, rng)
    else:
        canvas = Image.new("RGB", (scene.width, scene.height), style.background)
    if scene.numeral is not None:
        canvas = write_number(canvas, scene.numeral, style, rng, ink)
    return wear(canvas, style, rng)


def outline_of(thing: Thing, rng: np.random.Generator) -> Outline:
    """The corners of a thing in its unit box, with the small liberties that people take (arm width, star points)."""
    if thing.shape == "circle":
        return [(0.5 * math.cos(t), 0.5 * math.sin(t)) for t in np.linspace(0, 2 * math.pi, 72, endpoint=False)]
    if thing.shape == "square":
        return [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    if thing.shape == "triangle":
        if rng.random() < 0.5:
            return [(0.0, -0.5), (0.5, 0.5), (-0.5, 0.5)]
        return [(0.0, -0.5), (0.433, 0.25), (-0.433, 0.25)]
    if thing.shape == "star":
        inner = rng.uniform(0.17, 0.25)
        radius = 0.5 if rng.random() < 0.5 else 0.525
        turns = [math.pi * step / 5 - math.pi / 2 for step in range(10)]
        return [
            ((radius if step % 2 == 0 else inner) * math.cos(t), (radius if step % 2 == 0 else inner) * math.sin(t))
            for step, t in enumerate(turns)
        ]
    arm = rng.uniform(0.12, 0.2)
    corner = [(arm, -0.5), (arm, -arm), (0.5, -arm), (0.5, arm), (arm, arm), (arm, 0.5)]
    return corner + [(-x, -y) for x, y in corner]


def _corners(thing: Thing, rng: np.random.Generator) -> np.ndarray:
    turn = math.radians(thing.tilt)
    points = np.array(outline_of(thing, rng)) * thing.extent
    spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return points @ spin + (thing.x, thing.y)


def _edge(style: Style, fill: Color) -> Color:
    return style.outline_color if style.outline_color is not None else _rgb(value * 0.4 for value in fill)


def _draw_polygons(scene: Scene, style: Style, rng: np.random.Generator, scale: int) -> Image.Image:
    canvas = Image.new("RGB", (scene.width * scale, scene.height * scale), style.background)
    pen = ImageDraw.Draw(canvas)
    width = max(1, round(style.outline * scene.shorter * scale)) if style.outline else 0
    for thing in scene.things:
        fill = sample_color(rng, thing.color)
        edge = _edge(style, fill) if width else None
        points = [tuple(point) for point in _corners(thing, rng) * scale]
        if thing.shape == "circle":
            r, x, y = 0.5 * thing.extent * scale, thing.x * scale, thing.y * scale
            pen.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=edge, width=width)
        else:
            pen.polygon(points, fill=fill, outline=edge, width=max(width, 1))
    if scale == 1:
        return canvas
    return canvas.resize((scene.width, scene.height), Image.Resampling.BOX)


def _polygon(scene: Scene, style: Style, rng: np.random.Generator) -> Image.Image:
    return _draw_polygons(scene, style, rng, 2 if scene.width * scene.height > 300_000 else _SUPERSAMPLE)


def _aliased(scene: Scene, style: Style, rng: np.random.Generator) -> Image.Image:
    return _draw_polygons(scene, style, rng, 1)


def _distance(scene: Scene, style: Style, rng: np.random.Generator) -> Image.Image:
    """Shade each pixel by its signed distance to the outline: another program's idea of an edge."""
    canvas = np.empty((scene.height, scene.width, 3), np.float32)
    canvas[:] = style.background
    width = max(0.8, style.outline * scene.shorter) if style.outline else 0.0
    for thing in scene.things:
        reach = 0.75 * thing.extent + width + 2
        left, right = max(0, int(thing.x - reach)), min(scene.width, int(thing.x + reach) + 1)
        top, bottom = max(0, int(thing.y - reach)), min(scene.height, int(thing.y + reach) + 1)
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32) + 0.5
        if thing.shape == "circle":
            gap = np.hypot(x - thing.x, y - thing.y) - 0.5 * thing.extent
        else:
            gap = _polygon_distance(_corners(thing, rng), x, y)
        fill = sample_color(rng, thing.color)
        part = canvas[top:bottom, left:right]
        if width:
            _lay(part, _edge(style, fill), np.clip(0.5 - gap, 0, 1))
            gap = gap + width
        _lay(part, fill, np.clip(0.5 - gap, 0, 1))
    return Image.fromarray(canvas.round().astype(np.uint8))


def _lay(part: np.ndarray, color: Color, cover: np.ndarray) -> None:
    part += cover[..., None] * (np.array(color, np.float32) - part)


def _polygon_distance(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance in pixels from each (x, y) to a polygon, negative inside."""
    nearest = np.full(x.shape, np.inf, np.float32)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / max(ex * ex + ey * ey, 1e-9), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * ex, y - ay - along * ey))
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (x < ax + (y - ay) * ex / (ey if ey else 1e-9))
    return np.where(inside, -nearest, nearest)


RENDERERS: dict[str, Callable[[Scene, Style, np.random.Generator], Image.Image]] = {
    "polygon": _polygon,
    "aliased": _aliased,
    "distance": _distance,
}

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def write_number(
    canvas: Image.Image, numeral: Numeral, style: Style, rng: np.random.Generator, ink: GlyphInk | None
) -> Image.Image:
    """Return the picture with a number written on it, digit by digit."""
    cells = [_cell(box) for box in numeral.boxes]
    # Only what the number covers is taken apart: pictures are large.
    x0, y0 = max(0, min(cell[0] for cell in cells)), max(0, min(cell[1] for cell in cells))
    x1, y1 = max(cell[2] for cell in cells), max(cell[3] for cell in cells)
    x1, y1 = min(canvas.width, x1), min(canvas.height, y1)
    covered = np.asarray(canvas.crop((x0, y0, x1, y1)), np.float32).copy()
    for (left, top, right, bottom), index in zip(cells, numeral.glyphs, strict=True):
        scan = glyphs()[index] if ink is None else ink(index, rng)
        cover = _enlarge(scan, right - left, bottom - top, style.digit_filter)
        part = covered[max(top, 0) - y0 : bottom - y0, max(left, 0) - x0 : right - x0]
        cover = cover[max(0, -top) :, max(0, -left) :][: part.shape[0], : part.shape[1]]
        # Neighbouring cells may overlap: ink darkens, paper never covers ink.
        laid = part.copy()
        _lay(laid, style.ink, cover)
        np.minimum(part, laid, out=part)
    written = canvas.copy()
    written.paste(Image.fromarray(covered.round().astype(np.uint8)), (x0, y0))
    return written


def _cell(box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """The pixels (left, top, right, bottom) of a digit cell, two at least each way."""
    left, top = round(box[0]), round(box[1])
    return left, top, max(left + 2, round(box[2])), max(top + 2, round(box[3]))


def _enlarge(ink: np.ndarray, width: int, height: int, how: str) -> np.ndarray:
    image = Image.fromarray(np.clip(ink * 255, 0, 255).astype(np.uint8))
    if how != "smooth":
        return np.asarray(image.resize((width, height), _FILTERS[how]), np.float32) / 255
    # A pen stroke: enlarge softly, then sharpen the edge.
    soft = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 255
    return np.clip((soft - 0.3) / 0.35, 0, 1)


def wear(canvas: Image.Image, style: Style, rng: np.random.Generator) -> Image.Image:
    """Return the picture as a camera or a file format leaves it: blurred, noisy, compressed as `style` says."""
    if style.blur:
        canvas = canvas.filter(ImageFilter.GaussianBlur(style.blur))
    if style.noise:
        pixels = np.asarray(canvas, np.float32)
        grain = rng.standard_normal(pixels.shape, np.float32) * style.noise
        canvas = Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
    if style.jpeg is not None:
        box = io.BytesIO()
        canvas.save(box, "JPEG", quality=style.jpeg)
        canvas = Image.open(io.BytesIO(box.getvalue())).convert("RGB")
    return canvas
