"""Pictures of every size, mode and file format, and folders that say how a model wants them."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from triptych.engine.checkpoints.checkpoint import ModelConfig

MODES = ("RGB", "L", "LA", "RGBA", "P", "1", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "PA", "RGBa")
SIZES = (
    (1, 1), (2, 1), (1, 3), (5, 5), (28, 28), (29, 28), (28, 57), (55, 11), (56, 56), (57, 56), (84, 28), (11, 90),
    (200, 1), (1, 200), (97, 101), (120, 90), (90, 120), (333, 47), (47, 333), (128, 300),
)  # fmt: skip


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A picture in which every pixel differs, so that each step's rounding shows."""
    random = np.random.default_rng(seed + 7919 * width + height)
    if mode == "P":
        return noise(width, height, "RGB", seed).quantize(32)
    if mode in ("LA", "PA", "RGBA", "RGBa", "L", "CMYK"):
        bands = len(Image.new("RGBA" if mode == "RGBa" else mode, (1, 1)).getbands())
        values = random.integers(0, 256, (height, width, bands), dtype=np.uint8)
        if mode == "PA":
            return noise(width, height, "P", seed).convert("PA")
        picture = Image.fromarray(values[..., 0] if bands == 1 else values, "RGBA" if mode == "RGBa" else mode)
        return picture.convert("RGBa") if mode == "RGBa" else picture
    picture = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if mode == "LAB":
        return Image.merge("LAB", picture.split())
    return picture.convert(mode) if mode != "RGB" else picture


def encoded(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG file: its size, and no pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"")[:4]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (head, body))
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def picture_corpus() -> Iterator[tuple[str, Image.Image]]:
    """A few hundred pictures: every size in every mode."""
    for width, height in SIZES:
        for mode in MODES:
            yield f"{mode} {width}x{height}", noise(width, height, mode)


def file_corpus() -> Iterator[tuple[str, bytes]]:
    """Encoded files: formats, depths, palettes, transparency, animation."""
    picture = noise(61, 40)
    for form, options in (
        ("JPEG", {"quality": 80}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 70}), ("GIF", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}), ("ICO", {"sizes": [(61, 40)]}),
    ):  # fmt: skip
        yield f"{form} {options}", encoded(picture, form, **options)
    for mode, form in (
        ("L", "JPEG"), ("CMYK", "JPEG"), ("L", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("1", "PNG"),
        ("RGBA", "WEBP"), ("L", "TIFF"), ("CMYK", "TIFF"), ("1", "TIFF"), ("RGBA", "TIFF"), ("P", "GIF"), ("L", "BMP"),
    ):  # fmt: skip
        yield f"{mode} {form}", encoded(noise(45, 70, mode), form)
    yield "palette with a transparent colour", encoded(noise(50, 33, "P"), "PNG", transparency=3)
    yield "palette with alpha", encoded(noise(50, 33, "P"), "PNG", transparency=bytes(range(0, 256, 8)))
    yield "RGB with a transparent colour", encoded(noise(50, 33), "PNG", transparency=(1, 2, 3))
    yield "transparent GIF", encoded(noise(50, 33, "P"), "GIF", transparency=5)
    frames = [noise(40, 30, "RGB", seed) for seed in range(3)]
    yield "animated GIF", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield "animated WebP", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    yield "animated PNG", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])


def llava_config(side: int = 56, patch: int = 14, **over: Any) -> ModelConfig:
    """A LLaVA 1.5 model as far as pictures are concerned."""
    return ModelConfig.from_dict(_raw("llava", side, patch) | over)


def llava_next_config(side: int = 56, patch: int = 14, **over: Any) -> ModelConfig:
    """A LLaVA 1.6 model with the published canvases, in tiles of `side`."""
    raw = _raw("llava_next", side, patch)
    raw["image_grid_pinpoints"] = pinpoints(side)
    return ModelConfig.from_dict(raw | over)


def pinpoints(side: int) -> list[list[int]]:
    return [[rows * side, columns * side] for rows, columns in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))]


def processor_section(kind: str, side: int, **over: Any) -> dict[str, Any]:
    """What a `preprocessor_config.json` says; a value of None leaves the key out."""
    section: dict[str, Any] = {
        "image_processor_type": kind, "size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side},
        "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
        "rescale_factor": 0.00392156862745098, "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
    }  # fmt: skip
    if kind == "LlavaNextImageProcessor":
        section |= {"do_pad": True, "image_grid_pinpoints": pinpoints(side)}
    return {key: value for key, value in (section | over).items() if value is not None}


def write_processor(folder: Path, kind: str = "CLIPImageProcessor", side: int = 56, **over: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor_section(kind, side, **over)))
    return folder


def _raw(architecture: str, side: int, patch: int) -> dict[str, Any]:
    text = {"model_type": "mistral" if architecture == "llava_next" else "llama", "vocab_size": 512}
    vision = {"image_size": side, "patch_size": patch}
    return {"model_type": architecture, "text_config": text, "vision_config": vision, "image_token_index": 300}
