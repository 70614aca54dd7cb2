"""Pixel values bit-equal, and token counts equal, to transformers' image processors (Pillow back end)."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import (
    MODES,
    SIZES,
    encoded,
    file_corpus,
    llava_config,
    llava_next_config,
    noise,
    picture_corpus,
    pinpoints,
    png_header,
    processor_section,
)
from PIL import Image, ImageOps

from triptych.engine.imaging.images import ImageSource, open_image
from triptych.engine.imaging.preprocess import Preprocessor

SIDE = 56
# Transformers' classes by name: importing them takes seconds, which whoever runs no test here need not spend.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "crop": ("CLIPImageProcessor", {}),
    "crop, LLaVA's own": ("LlavaImageProcessor", {"do_pad": False}),
    "pad": ("LlavaImageProcessor", {"do_pad": True}),
    "anyres": ("LlavaNextImageProcessor", {}),
}


class Pair:
    """Our preprocessor and transformers', from one and the same folder."""

    def __init__(self, folder: Path, kind: str, side: int = SIDE, **over: Any) -> None:
        import transformers

        name, options = KINDS[kind]
        oracle = getattr(transformers, f"{name}Pil")
        folder.mkdir(exist_ok=True)
        section = processor_section(name, side, **options, **over)
        (folder / "preprocessor_config.json").write_text(json.dumps(section))
        config = llava_next_config(side) if kind == "anyres" else llava_config(side)
        self.ours = Preprocessor.from_folder(folder, config)
        self.theirs = oracle.from_pretrained(folder)

    def check(self, source: ImageSource, picture: Image.Image, name: str) -> None:
        expected = np.asarray(self.theirs(images=picture, return_tensors="np")["pixel_values"])
        found = self.ours.pixel_values(open_image(source))
        assert found.dtype == expected.dtype == np.float32
        assert np.array_equal(found, expected.reshape(found.shape)), name


@pytest.fixture(scope="module", params=list(KINDS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("processor"), request.param)


def test_corpus_is_a_few_hundred_pictures() -> None:
    assert len(SIZES) * len(MODES) + len(list(file_corpus())) >= 280


def test_pillow_pictures_of_every_size_and_mode(pair: Pair) -> None:
    for name, picture in picture_corpus():
        # transformers hands premultiplied alpha to Pillow's convert, which drops it; ours shows white behind.
        pair.check(picture, picture.convert("RGBA") if picture.mode == "RGBa" else picture, name)


def test_encoded_files(pair: Pair) -> None:
    for name, data in file_corpus():
        pair.check(data, ImageOps.exif_transpose(Image.open(io.BytesIO(data))), name)


def test_low_detail_is_the_first_tile_of_every_picture(tmp_path: Path) -> None:
    pair = Pair(tmp_path, "anyres")
    for size in SIZES:
        picture = noise(*size)
        theirs = np.asarray(pair.theirs(images=picture, return_tensors="np")["pixel_values"])[0, :1]
        assert np.array_equal(pair.ours.pixel_values(open_image(picture, detail="low")), theirs), size


@pytest.mark.parametrize("orientation", range(2, 9))
def test_rotated_photos(pair: Pair, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise(90, 40), "JPEG", exif=exif)
    pair.check(data, ImageOps.exif_transpose(Image.open(io.BytesIO(data))), str(orientation))


@pytest.mark.parametrize("kind", list(KINDS))
def test_published_size_of_336(kind: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path, kind, 336)
    for size in ((640, 480), (480, 641), (1023, 337), (100, 300), (2000, 15), (7, 336), (336, 336)):
        picture = noise(*size)
        pair.check(picture, picture, str(size))


@pytest.mark.parametrize(
    "over",
    [
        {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 0.125]},
        {"rescale_factor": 1 / 127.5},
        {"do_normalize": False},
        {"do_rescale": False},
        {"size": {"height": SIDE, "width": SIDE}},
    ],
)
def test_other_options(over: dict[str, Any], tmp_path: Path) -> None:
    for number, kind in enumerate(KINDS):
        if kind.startswith("crop") and "size" in over:
            continue  # resizing without keeping the aspect is not LLaVA's crop
        pair = Pair(tmp_path / str(number), kind, **over)
        for size in ((90, 61), (33, 200)):
            picture = noise(*size)
            pair.check(picture, picture, f"{kind} {size}")


def test_token_counts_of_thousands_of_sizes_from_the_header_alone(tmp_path: Path) -> None:
    from transformers import LlavaNextImageProcessorPil
    from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor

    oracle = object.__new__(LlavaNextProcessor)  # its arithmetic, without a tokenizer
    oracle.patch_size, oracle.num_additional_image_tokens = 14, 1
    oracle.image_processor = LlavaNextImageProcessorPil(image_grid_pinpoints=pinpoints(336))
    ours = Pair(tmp_path, "anyres", 336).ours
    draw = random.Random(5)
    sizes = [(w, h) for w in range(1, 60) for h in range(1, 60)]
    sizes += [(draw.randint(1, 5000), draw.randint(1, 5000)) for _ in range(4000)]
    sizes += [(round(2 ** draw.uniform(0, 15)), round(2 ** draw.uniform(0, 15))) for _ in range(2000)]
    sizes += [(1128, 47), (176, 55), (55, 88), (99, 88), (352, 110), (110, 176), (1, 2000), (2000, 1)]
    for width, height in sizes:
        expected = oracle._get_number_of_features(height, width, 336, 336) - 1
        assert ours.tokens(width, height) == expected, (width, height)
    for width, height in sizes[::50]:
        if width * height < 80_000_000:
            image = open_image(png_header(width, height))
            assert (image.width, image.height) == (width, height)
