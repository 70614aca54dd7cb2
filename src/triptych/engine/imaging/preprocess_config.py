"""The image processor's section of a checkpoint folder, read and checked."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import CheckpointError

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class PixelOptions:
    """How bytes become float32: `(value * scale - mean) / std` per channel, either step only if wanted."""

    rescale: bool = True
    normalise: bool = True
    scale: float = 1 / 255
    mean: tuple[float, float, float] = _CLIP_MEAN
    std: tuple[float, float, float] = _CLIP_STD

    @property
    def identity(self) -> str:
        return f"rescale={self.rescale}*{self.scale!r} normalise={self.normalise}-{self.mean!r}/{self.std!r}"

    @property
    def background(self) -> tuple[int, int, int]:
        """The colour that padding to a square uses: the mean."""
        red, green, blue = (int(value * 255) for value in self.mean)
        return red, green, blue

    def table(self) -> np.ndarray:
        """float32 [3, 256]: what each byte becomes in each channel, in transformers' order of operations."""
        values = np.arange(256, dtype=np.float64)
        scaled = (values * self.scale if self.rescale else values).astype(np.float32)
        if not self.normalise:
            return np.stack([scaled] * 3)
        mean = np.array(self.mean, dtype=np.float32)[:, None]
        return (scaled - mean) / np.array(self.std, dtype=np.float32)[:, None]


@dataclass(frozen=True, slots=True)
class StoredChoices:
    """What the files say about the picture's shape. `squeeze`: to a square, aspect not kept."""

    pad: bool
    squeeze: bool
    pinpoints: tuple[tuple[int, int], ...] | None


def read_options(folder: Path, side: int) -> tuple[PixelOptions, StoredChoices]:
    """The options of a checkpoint whose tower takes `side` x `side` pixels. Raises `CheckpointError`."""
    content, file = _read(folder)
    try:
        return _options(content, file, side)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{file}: not a usable image processor ({error}); download it again") from None


def _read(folder: Path) -> tuple[dict[str, Any], Path]:
    """transformers 5 nests the image processor in processor_config.json, earlier ones have a file for it."""
    processor = folder / "processor_config.json"
    nested = _json(processor).get("image_processor") if processor.is_file() else None
    if isinstance(nested, dict):
        return nested, processor
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        raise CheckpointError(f"{folder}: has no preprocessor_config.json; download the checkpoint again")
    return _json(file), file


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error}); download it again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: must hold a JSON object; download it again")
    return content


def _options(content: dict[str, Any], file: Path, side: int) -> tuple[PixelOptions, StoredChoices]:
    if content.get("do_resize") is False or content.get("do_center_crop") is False:
        raise CheckpointError(f"{file}: do_resize and do_center_crop must be true for this vision tower")
    for name in ("size", "crop_size"):
        edges = _edges(content.get(name, side))
        if any(edge != side for edge in edges):
            raise CheckpointError(f"{file}: {name} is {edges} but the vision tower takes {side} px squares")
    if content.get("resample", Image.Resampling.BICUBIC) != Image.Resampling.BICUBIC:
        raise CheckpointError(f"{file}: resample is {content['resample']}; only bicubic (3) is supported")
    options = PixelOptions(
        rescale=bool(content.get("do_rescale", True)),
        normalise=bool(content.get("do_normalize", True)),
        scale=float(content.get("rescale_factor", 1 / 255)),
        mean=_three(content.get("image_mean", _CLIP_MEAN)),
        std=_three(content.get("image_std", _CLIP_STD)),
    )
    kind = str(content.get("image_processor_type", ""))
    pinpoints = content.get("image_grid_pinpoints")
    return options, StoredChoices(
        # CLIP's own processor knows no padding to a square, whatever its file says.
        pad=bool(content.get("do_pad")) and not kind.startswith("CLIP"),
        squeeze=len(_edges(content.get("size", side))) == 2,
        pinpoints=tuple((int(h), int(w)) for h, w in pinpoints) if pinpoints else None,
    )


def _edges(size: Any) -> list[int]:
    """[336] of 336 or {"shortest_edge": 336}; [336, 336] of {"height": 336, "width": 336}."""
    if isinstance(size, dict):
        return [int(edge) for edge in size.values() if edge is not None]
    return [int(edge) for edge in size] if isinstance(size, list | tuple) else [int(size)]


def _three(value: Any) -> tuple[float, float, float]:
    values = [float(item) for item in value] if isinstance(value, list | tuple) else [float(value)] * 3
    if len(values) != 3 or not all(map(math.isfinite, values)):
        raise ValueError(f"expected three numbers, not {value!r}")
    return values[0], values[1], values[2]
