"""What the models are trained on is what the saved processors make of a picture."""

import numpy as np
import pytest
import torch
from PIL import Image
from training import shapes
from training.export import write_llava
from training.network import Llava
from training.prepare import anyres_views, best_resolution, padded_view
from training.vision import normalise

SIZES = [(160, 160), (320, 240), (240, 320), (100, 300), (300, 100), (640, 481), (171, 170), (1128, 47), (97, 401)]


def picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    small = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def processors(tmp_path_factory):
    from transformers import AutoProcessor

    found = {}
    for anyres in (False, True):
        folder = tmp_path_factory.mktemp("model")
        write_llava(Llava(shapes.VISION, shapes.MISTRAL), folder, anyres)
        found[anyres] = AutoProcessor.from_pretrained(folder)
    return found


@pytest.mark.parametrize("size", SIZES)
def test_padded_view(processors, size):
    image = picture(*size)
    ours = normalise(padded_view(image).pixels[None])
    theirs = processors[False].image_processor(image, return_tensors="pt")["pixel_values"]
    assert torch.allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
def test_anyres_views_and_token_counts(processors, size):
    image = picture(*size)
    views, grid = anyres_views(image, shapes.GRID)
    ours = normalise(np.stack([view.pixels for view in views]))
    inputs = processors[True](images=[image], text="<image>", return_tensors="pt")
    assert torch.allclose(ours, inputs["pixel_values"][0][: len(ours)], atol=2e-6)
    rows, columns = grid.rows[1] - grid.rows[0], grid.columns[1] - grid.columns[0]
    tokens = shapes.GRID**2 + rows * (columns + 1)
    assert int((inputs["input_ids"] == shapes.IMAGE_TOKEN).sum()) == tokens


def test_best_resolution_prefers_what_keeps_most():
    assert best_resolution(600, 600) == (320, 320)
    assert best_resolution(900, 300) == (160, 480)
    assert best_resolution(300, 900) == (480, 160)
    assert best_resolution(100, 100) == (160, 320)


def test_a_point_of_the_picture_is_found_in_its_view():
    """A dot keeps its place under the affine maps that the targets rely on."""
    image = Image.new("RGB", (400, 260), (255, 255, 255))
    image.paste((0, 0, 0), (290, 50, 310, 70))
    views, _ = anyres_views(image, shapes.GRID)
    seen = 0
    for view in [padded_view(image), *views]:
        x, y = (point * scale + shift for point, scale, shift in zip((300, 60), view.scale, view.shift, strict=True))
        if 3 <= x < 157 and 3 <= y < 157:
            seen += 1
            assert view.pixels[int(y), int(x)].max() < 80
    assert seen == 3
