"""From a checkpoint's files to a preprocessor: choices, identities, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import (
    encoded,
    llava_config,
    llava_next_config,
    noise,
    pinpoints,
    png_header,
    processor_section,
    write_processor,
)

from triptych.engine.checkpoints.checkpoint import ModelConfig
from triptych.engine.errors import CheckpointError, ImageError, ParameterError
from triptych.engine.imaging.images import open_image
from triptych.engine.imaging.preprocess import Preprocessor

SIDE = 56
CLIP, LLAVA, NEXT = "CLIPImageProcessor", "LlavaImageProcessor", "LlavaNextImageProcessor"


def make(folder: Path, kind: str = CLIP, mode: Any = None, **over: Any) -> Preprocessor:
    config = llava_next_config(SIDE) if kind == NEXT else llava_config(SIDE)
    return Preprocessor.from_folder(write_processor(folder, kind, SIDE, **over), config, mode=mode)


class TestChoices:
    def test_files_decide_between_crop_and_pad(self, tmp_path: Path) -> None:
        assert make(tmp_path, CLIP).mode == "crop"
        assert make(tmp_path, CLIP, do_pad=True).mode == "crop"  # CLIP's processor has no such step
        assert make(tmp_path, LLAVA).mode == "crop"
        assert make(tmp_path, LLAVA, do_pad=True).mode == "pad"

    def test_an_explicit_choice_wins(self, tmp_path: Path) -> None:
        assert make(tmp_path, CLIP, "pad").mode == "pad"
        assert make(tmp_path, LLAVA, "crop", do_pad=True).mode == "crop"

    def test_sixteen_is_never_run_as_fifteen(self, tmp_path: Path) -> None:
        assert make(tmp_path, NEXT).mode == "anyres"
        assert Preprocessor.from_folder(write_processor(tmp_path, CLIP, SIDE), llava_next_config(SIDE)).mode == "anyres"

    def test_nested_section_of_transformers_5(self, tmp_path: Path) -> None:
        section = processor_section(LLAVA, SIDE, do_pad=True)
        (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": section}))
        assert Preprocessor.from_folder(tmp_path, llava_config(SIDE)).mode == "pad"

    def test_size_spellings(self, tmp_path: Path) -> None:
        for size in (SIDE, {"shortest_edge": SIDE}, {"height": SIDE, "width": SIDE}, None):
            assert make(tmp_path, size=size, crop_size=SIDE, mode="crop").side == SIDE

    def test_counts(self, tmp_path: Path) -> None:
        plain, tiled = make(tmp_path / "a"), make(tmp_path / "b", NEXT)
        assert (plain.tokens(640, 480), plain.tiles(640, 480), plain.layout(640, 480)) == (16, 1, None)
        layout = tiled.layout(640, 480)
        assert layout is not None
        assert (tiled.tokens(640, 480), tiled.tiles(640, 480)) == (layout.tokens, 5)


class TestDetail:
    @pytest.mark.parametrize("size", [(640, 480), (1, 2000), (56, 56)])
    def test_low_is_the_base_tile_alone(self, tmp_path: Path, size: tuple[int, int]) -> None:
        tiled, picture = make(tmp_path, NEXT), noise(*size)
        assert (tiled.tokens(*size, "low"), tiled.tiles(*size, "low")) == (16 + 1, 1)
        assert tiled.tiles(*size, "high") == tiled.tiles(*size) > 1
        low = tiled.pixel_values(open_image(picture, detail="low"))
        assert np.array_equal(low, tiled.pixel_values(open_image(picture))[:1])

    @pytest.mark.parametrize("mode", ["crop", "pad"])
    def test_one_input_has_no_coarser_view(self, tmp_path: Path, mode: Any) -> None:
        plain = make(tmp_path, mode=mode)
        high, low = open_image(noise(60, 40)), open_image(noise(60, 40), detail="low")
        assert plain.tokens(60, 40, "low") == plain.tokens(60, 40)
        assert np.array_equal(plain.pixel_values(low), plain.pixel_values(high))
        assert plain.digest(low) == plain.digest(high)  # the features are the same: whoever has them need not ask again

    def test_the_two_views_are_kept_apart(self, tmp_path: Path) -> None:
        tiled, data = make(tmp_path, NEXT), encoded(noise(60, 40))
        high, low = open_image(data), open_image(data, detail="low")
        assert high != low
        assert tiled.digest(low) != tiled.digest(high)
        assert tiled.digest(low) == tiled.digest(open_image(data, detail="low"))


class TestPixels:
    @pytest.mark.parametrize(("kind", "mode"), [(CLIP, "crop"), (CLIP, "pad"), (NEXT, None)])
    @pytest.mark.parametrize("size", [(1, 2000), (2000, 1), (1, 1), (3, 65_535), (300, 200)])
    def test_any_size_gives_its_tiles(self, tmp_path: Path, kind: str, mode: Any, size: tuple[int, int]) -> None:
        preprocessor = make(tmp_path, kind, mode)
        values = preprocessor.pixel_values(open_image(noise(*size)))
        assert values.shape == (preprocessor.tiles(*size), 3, SIDE, SIDE)
        assert values.dtype == np.float32
        assert np.isfinite(values).all()

    def test_steps_can_be_left_out(self, tmp_path: Path) -> None:
        picture = open_image(noise(SIDE, SIDE))
        raw = make(tmp_path / "a", do_rescale=False, do_normalize=False).pixel_values(picture)
        assert np.array_equal(raw[0], np.asarray(picture.pixels()).transpose(2, 0, 1).astype(np.float32))
        scaled = make(tmp_path / "b", do_normalize=False).pixel_values(picture)
        assert scaled.max() <= 1

    def test_pad_colour_is_the_mean(self, tmp_path: Path) -> None:
        values = make(tmp_path, mode="pad").pixel_values(open_image(noise(SIDE, 1)))
        assert np.abs(values[0, :, 0, 0]).max() < 0.02

    def test_canvas_is_padded_with_black(self, tmp_path: Path) -> None:
        values = make(tmp_path, NEXT).pixel_values(open_image(noise(400, 100)))
        assert values[1, 0, 0, 0] == pytest.approx(-1.7923, abs=1e-3)

    def test_damage_shows_when_pixels_are_needed(self, tmp_path: Path) -> None:
        image = open_image(png_header(64, 64))
        assert make(tmp_path).tokens(image.width, image.height) == 16
        with pytest.raises(ImageError, match="truncated or damaged"):
            make(tmp_path).pixel_values(image)


class TestIdentity:
    def test_every_option_changes_it(self, tmp_path: Path) -> None:
        variants = [
            make(tmp_path / "a"), make(tmp_path / "b", mode="pad"), make(tmp_path / "c", NEXT),
            make(tmp_path / "d", image_mean=[0.5, 0.5, 0.5]), make(tmp_path / "e", image_std=[0.5, 0.5, 0.5]),
            make(tmp_path / "f", rescale_factor=1 / 256), make(tmp_path / "g", do_normalize=False),
            make(tmp_path / "h", do_rescale=False),
            Preprocessor.from_folder(write_processor(tmp_path / "i", CLIP, 28), llava_config(28)),
            Preprocessor.from_folder(write_processor(tmp_path / "j", CLIP, SIDE), llava_config(SIDE, 28)),
            Preprocessor.from_folder(
                write_processor(tmp_path / "k", NEXT, SIDE, image_grid_pinpoints=pinpoints(SIDE)[:3]),
                llava_next_config(SIDE, image_grid_pinpoints=pinpoints(SIDE)[:3]),
            ),
        ]  # fmt: skip
        assert len({variant.identity for variant in variants}) == len(variants)
        image = open_image(noise(20, 20))
        digests = {variant.digest(image) for variant in variants}
        assert len(digests) == len(variants)
        assert all(len(digest) >= 16 for digest in digests)

    def test_digest_is_of_content_not_of_source(self, tmp_path: Path) -> None:
        preprocessor, data = make(tmp_path), encoded(noise(20, 20))
        (tmp_path / "x.png").write_bytes(data)
        assert preprocessor.digest(open_image(data)) == preprocessor.digest(open_image(tmp_path / "x.png"))
        assert preprocessor.digest(open_image(noise(20, 20))) != preprocessor.digest(open_image(noise(20, 20, seed=1)))


class TestRefusals:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json"):
            Preprocessor.from_folder(tmp_path, llava_config())

    @pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
    def test_damaged_file(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "preprocessor_config.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: (cannot be read|must hold)"):
            Preprocessor.from_folder(tmp_path, llava_config())

    @pytest.mark.parametrize(
        ("over", "match"),
        [
            ({"size": {"shortest_edge": 224}}, r"size is \[224\] but the vision tower takes 56 px"),
            ({"crop_size": {"height": 56, "width": 28}}, r"crop_size is \[56, 28\]"),
            ({"do_resize": False}, "must be true"),
            ({"do_center_crop": False}, "must be true"),
            ({"resample": 2}, "only bicubic"),
            ({"image_mean": [1, 2]}, "expected three numbers"),
            ({"image_std": "x"}, "not a usable image processor"),
            ({"rescale_factor": None, "size": "large"}, "not a usable image processor"),
        ],
    )
    def test_options_that_do_not_fit(self, tmp_path: Path, over: dict[str, Any], match: str) -> None:
        with pytest.raises(CheckpointError, match=match):
            make(tmp_path, **over)

    def test_squeezing_must_be_a_choice(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="choose crop or pad explicitly"):
            make(tmp_path, size={"height": SIDE, "width": SIDE})

    def test_wrong_mode(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match="must be crop or pad, not 'stretch'"):
            make(tmp_path, mode="stretch")
        with pytest.raises(ParameterError, match=r"LLaVA 1\.6 always cuts tiles"):
            make(tmp_path, NEXT, "pad")

    def test_text_model(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="has no image processor"):
            Preprocessor.from_folder(tmp_path, ModelConfig.from_dict({"model_type": "llama"}))

    def test_canvases_of_model_and_processor_differ(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="differ; make them equal"):
            make(tmp_path, NEXT, image_grid_pinpoints=pinpoints(SIDE)[:2])
