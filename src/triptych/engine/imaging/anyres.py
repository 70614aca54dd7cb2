"""How LLaVA 1.6 cuts a picture into tiles and how many tokens that costs, from its width and height alone.

The arithmetic is that of transformers' `LlavaNextImageProcessorPil` and `LlavaNextProcessor` (5.x), including
its roundings; they decide the token count, so they may not be "improved". Canvases ("pinpoints") are
(height, width) in pixels, as in the checkpoints' `image_grid_pinpoints`. No tensors, no images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Canvas = tuple[int, int]


@dataclass(frozen=True, slots=True)
class AnyresLayout:
    """What becomes of one picture.

    canvas           (height, width) in pixels that the picture is fitted into
    resized          (height, width) of the picture on the canvas, the rest is black
    offset           (top, left) of the picture on the canvas
    rows, cols       tiles of the canvas, cut in row order
    grid             patches along one side of a tile (24 for CLIP at 336 px)
    map_rows, map_cols    patches of the whole canvas: rows * grid, cols * grid
    row_start, col_start  first row and column of that map that are kept ...
    kept_rows, kept_cols  ... and how many: what shows only padding is dropped

    A picture of which only the base tile is seen has no canvas: rows and cols are 0, and the map is one row without
    columns, which its newline ends.
    """

    canvas: Canvas
    resized: tuple[int, int]
    offset: tuple[int, int]
    rows: int
    cols: int
    grid: int
    row_start: int
    col_start: int
    kept_rows: int
    kept_cols: int

    @property
    def map_rows(self) -> int:
        return self.rows * self.grid

    @property
    def map_cols(self) -> int:
        return self.cols * self.grid

    @property
    def tiles(self) -> int:
        """Inputs of the vision tower: the whole picture once, and the canvas in pieces."""
        return 1 + self.rows * self.cols

    @property
    def tokens(self) -> int:
        """The base tile's patches, then the kept map with one newline at the end of each of its rows."""
        return self.grid * self.grid + self.kept_rows * self.kept_cols + self.kept_rows


def compute_layout(
    width: int, height: int, pinpoints: Sequence[Canvas], side: int, patch: int
) -> AnyresLayout:
    """The layout of a `width` x `height` picture for square tiles of `side` and patches of `patch` pixels."""
    canvas = select_canvas(width, height, pinpoints)
    resized = fit(width, height, canvas)
    grid = side // patch
    rows, cols = canvas[0] // side, canvas[1] // side
    row_start, kept_rows, col_start, kept_cols = unpad(width, height, rows * grid, cols * grid)
    return AnyresLayout(
        canvas=canvas,
        resized=resized,
        # The odd pixel goes to the right and to the bottom.
        offset=((canvas[0] - resized[0]) // 2, (canvas[1] - resized[1]) // 2),
        rows=rows,
        cols=cols,
        grid=grid,
        row_start=row_start,
        col_start=col_start,
        kept_rows=kept_rows,
        kept_cols=kept_cols,
    )


def base_layout(side: int, patch: int) -> AnyresLayout:
    """The layout of any picture as its base tile alone: one newline ends its patches, as `pack_image_features` of
    transformers (and the authors' code) has it for a picture of one tile.
    """
    return AnyresLayout(
        canvas=(0, 0), resized=(0, 0), offset=(0, 0), rows=0, cols=0, grid=side // patch, row_start=0, col_start=0,
        kept_rows=1, kept_cols=0,
    )  # fmt: skip


def select_canvas(width: int, height: int, pinpoints: Sequence[Canvas]) -> Canvas:
    """The canvas that keeps most of the picture's pixels; then the one that wastes least; then the first."""
    best: Canvas | None = None
    best_effective, best_wasted = 0, math.inf
    for canvas_height, canvas_width in pinpoints:
        scale = min(canvas_width / width, canvas_height / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        wasted = canvas_height * canvas_width - effective
        if effective > best_effective or (effective == best_effective and wasted < best_wasted):
            best, best_effective, best_wasted = (canvas_height, canvas_width), effective, wasted
    if best is None:
        raise ValueError("pinpoints must name at least one canvas")
    return best


def fit(width: int, height: int, canvas: Canvas) -> tuple[int, int]:
    """(height, width) of the picture scaled to the canvas: aspect kept, rounded up, never over the canvas."""
    canvas_height, canvas_width = canvas
    scale_w, scale_h = canvas_width / width, canvas_height / height
    if scale_w < scale_h:
        return min(math.ceil(height * scale_w), canvas_height), canvas_width
    return canvas_height, min(math.ceil(width * scale_h), canvas_width)


def unpad(width: int, height: int, map_rows: int, map_cols: int) -> tuple[int, int, int, int]:
    """The part of the feature map that shows the picture: (first row, rows, first column, columns).

    The rounding to 7 digits before truncation is what the checkpoints' reference does (transformers #34625):
    without it about one size in 40,000 is off by a row. Padding is halved towards zero, so one row or column
    of pure padding may stay; very thin pictures may keep no row or no column at all.
    """
    if width / height > map_cols / map_rows:
        rows = int(round(height * (map_cols / width), 7))
        start = (map_rows - rows) // 2
        return start, map_rows - 2 * start, 0, map_cols
    cols = int(round(width * (map_rows / height), 7))
    start = (map_cols - cols) // 2
    return 0, map_rows, start, map_cols - 2 * start
