"""The integer arithmetic of LLaVA 1.6."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.engine.imaging.anyres import AnyresLayout, base_layout, compute_layout, fit, select_canvas, unpad

PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))

# width, height, canvas, grid, tiles, resized (h, w), kept (rows, columns), tokens
TABLE = [
    (336, 336, (336, 672), (1, 2), 3, (336, 336), (24, 24), 1176),
    (672, 672, (672, 672), (2, 2), 5, (672, 672), (48, 48), 2928),
    (2000, 2000, (672, 672), (2, 2), 5, (672, 672), (48, 48), 2928),
    (672, 336, (336, 672), (1, 2), 3, (336, 672), (24, 48), 1752),
    (1344, 336, (336, 1008), (1, 3), 4, (252, 1008), (18, 72), 1890),
    (336, 1344, (1008, 336), (3, 1), 4, (1008, 252), (72, 18), 1944),
    (640, 480, (672, 672), (2, 2), 5, (504, 672), (36, 48), 2340),
    (480, 640, (672, 672), (2, 2), 5, (672, 504), (48, 36), 2352),
    (1024, 899, (672, 672), (2, 2), 5, (590, 672), (42, 48), 2634),
    (1100, 808, (672, 672), (2, 2), 5, (494, 672), (36, 48), 2340),
    (1920, 1080, (672, 672), (2, 2), 5, (378, 672), (28, 48), 1948),
    (1080, 1920, (672, 672), (2, 2), 5, (672, 378), (48, 28), 1968),
    (100, 900, (1008, 336), (3, 1), 4, (1008, 113), (72, 8), 1224),
    (900, 100, (336, 1008), (1, 3), 4, (113, 1008), (8, 72), 1160),
    (333, 1000, (1008, 336), (3, 1), 4, (1008, 336), (72, 24), 2376),
    (3000, 200, (336, 1008), (1, 3), 4, (68, 1008), (4, 72), 868),
    (1128, 47, (336, 1008), (1, 3), 4, (42, 1008), (4, 72), 868),
    (176, 55, (336, 672), (1, 2), 3, (210, 672), (16, 48), 1360),
]
# (height, width), canvas, kept map, tokens: sizes that broke other engines
FIELD_CASES = [
    ((1500, 500), (1008, 336), (72, 24), 2376),
    ((500, 1500), (336, 1008), (24, 72), 2328),
    ((100, 1000), (336, 1008), (8, 72), 1160),
    ((1000, 100), (1008, 336), (72, 8), 1224),
    ((333, 500), (336, 672), (24, 36), 1464),
    ((427, 640), (672, 672), (32, 48), 2144),
    ((161, 184), (336, 672), (24, 28), 1272),
    ((184, 161), (336, 672), (24, 22), 1128),
    ((1, 2000), (336, 672), (0, 48), 576),
    ((2000, 1), (336, 672), (24, 0), 600),
]


def layout(width: int, height: int) -> AnyresLayout:
    return compute_layout(width, height, PINPOINTS, 336, 14)


@pytest.mark.parametrize(("width", "height", "canvas", "grid", "tiles", "resized", "kept", "tokens"), TABLE)
def test_worked_table(
    width: int, height: int, canvas: object, grid: object, tiles: int, resized: object, kept: object, tokens: int
) -> None:
    found = layout(width, height)
    assert (found.canvas, (found.rows, found.cols), found.tiles) == (canvas, grid, tiles)
    assert (found.resized, (found.kept_rows, found.kept_cols), found.tokens) == (resized, kept, tokens)


@pytest.mark.parametrize(("size", "canvas", "kept", "tokens"), FIELD_CASES)
def test_sizes_that_broke_other_engines(
    size: tuple[int, int], canvas: object, kept: object, tokens: int
) -> None:
    found = layout(size[1], size[0])
    assert (found.canvas, (found.kept_rows, found.kept_cols), found.tokens) == (canvas, kept, tokens)


@pytest.mark.parametrize("size", [(1128, 47), (176, 55), (55, 88), (99, 88), (352, 110), (110, 176)])
def test_rounding_before_truncation_decides_these_sizes(size: tuple[int, int]) -> None:
    width, height = size
    rows, cols = (layout(width, height).rows * 24, layout(width, height).cols * 24)
    exact = height * cols / width if width / height > cols / rows else width * rows / height
    start, kept_rows, left, kept_cols = unpad(width, height, rows, cols)
    whole = rows if width / height > cols / rows else cols
    padding = start if width / height > cols / rows else left
    assert padding == (whole - round(exact)) // 2
    assert kept_rows + 2 * start == rows
    assert kept_cols + 2 * left == cols


def test_odd_padding_goes_right_and_down() -> None:
    found = layout(1024, 899)
    assert found.offset == ((672 - 590) // 2, 0)
    assert layout(100, 900).offset == (0, (336 - 113) // 2)


def test_both_small_sides_tie_and_the_first_canvas_wins() -> None:
    assert select_canvas(100, 100, PINPOINTS) == (336, 672)
    assert select_canvas(100, 100, tuple(reversed(PINPOINTS[:2]))) == (672, 336)


def test_no_canvas_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one canvas"):
        select_canvas(1, 1, ())


sizes = st.integers(1, 70_000)


@given(sizes, sizes)
def test_any_size_has_a_layout_that_fits_its_canvas(width: int, height: int) -> None:
    found = layout(width, height)
    assert found.canvas in PINPOINTS
    assert 1 <= found.resized[0] <= found.canvas[0]
    assert 1 <= found.resized[1] <= found.canvas[1]
    assert found.canvas[0] in (found.resized[0], found.rows * 336)
    assert 0 <= found.row_start <= found.row_start + found.kept_rows <= found.map_rows
    assert 0 <= found.col_start <= found.col_start + found.kept_cols <= found.map_cols
    assert found.tokens == 576 + found.kept_rows * (found.kept_cols + 1)
    assert 576 <= found.tokens <= 2928
    assert found.tiles in (3, 4, 5)


@given(sizes, sizes)
def test_the_kept_map_covers_the_picture(width: int, height: int) -> None:
    """What is dropped shows only padding: the picture's own patches all stay, but for one of rounding."""
    found = layout(width, height)
    assert found.kept_rows * 14 >= found.resized[0] - 2 * 14
    assert found.kept_cols * 14 >= found.resized[1] - 2 * 14
    assert found.resized == fit(width, height, found.canvas)


def test_a_base_tile_alone_is_its_patches_and_one_newline() -> None:
    alone = base_layout(336, 14)
    assert (alone.tiles, alone.tokens) == (1, 577)
    assert (alone.map_rows, alone.map_cols) == (0, 0)
