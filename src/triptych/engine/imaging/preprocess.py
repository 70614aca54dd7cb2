"""Pictures to the vision tower's input, bit-equal to transformers' Pillow image processors. numpy and Pillow.

LLaVA 1.5 has two behaviours. "crop" resizes the shorter edge and cuts out the centre, as the converted
checkpoints' own configuration says (the sides of a wide picture are not seen). "pad" pads to a square in the
mean colour, as the authors trained and evaluated. LLaVA 1.6 has one, "anyres": tiles of a canvas plus the
whole picture, or with `detail` "low" the whole picture alone. Which pixels a model saw decides its answer, so
`identity` covers every option.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from ..errors import CheckpointError, ParameterError
from ..request import Detail
from .anyres import AnyresLayout, Canvas, base_layout, compute_layout
from .images import DIGEST_BYTES, ImageInput
from .preprocess_config import PixelOptions, read_options
from .resample import BICUBIC, crop_after_resize, resize_after_pad

if TYPE_CHECKING:
    from ..checkpoints.checkpoint import ModelConfig

Mode = Literal["crop", "pad"]

# Part of every digest: raise it when the same file and options give other pixels than before.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Preprocessor(ABC):
    """Square inputs of `side` x `side` pixels, each `(side // patch) ** 2` tokens; from `from_folder`."""

    side: int
    patch: int
    options: PixelOptions

    @staticmethod
    def from_folder(folder: str | Path, config: ModelConfig, *, mode: Mode | None = None) -> Preprocessor:
        """Reads `processor_config.json` / `preprocessor_config.json` of a checkpoint folder.

        `mode` overrides what LLaVA 1.5 checkpoints say; LLaVA 1.6 has no such choice. Raises
        `CheckpointError` when the files are missing, damaged or do not fit the model, `ParameterError` for a
        wrong `mode`.
        """
        vision = config.vision
        if vision is None:
            raise CheckpointError(f"{folder}: a text model ({config.architecture}) has no image processor")
        if mode not in (None, "crop", "pad"):
            raise ParameterError(f"preprocess must be crop or pad, not {mode!r}", "preprocess")
        options, stored = read_options(Path(folder), vision.image_size)
        side, patch = vision.image_size, vision.patch_size
        if config.architecture == "llava_next":
            if mode is not None:
                raise ParameterError(
                    f"preprocess={mode} is a choice of LLaVA 1.5; LLaVA 1.6 always cuts tiles, leave it out",
                    "preprocess",
                )
            return Anyres(side, patch, options, _pinpoints(Path(folder), config, stored.pinpoints))
        if mode is None and stored.squeeze and not stored.pad:
            raise CheckpointError(
                f"{folder}: the image processor squeezes pictures to a square, which LLaVA 1.5 was not trained "
                f"on; choose crop or pad explicitly"
            )
        chosen = mode or ("pad" if stored.pad else "crop")
        return SquarePad(side, patch, options) if chosen == "pad" else SquareCrop(side, patch, options)

    @property
    @abstractmethod
    def mode(self) -> str:
        """"crop", "pad" or "anyres"."""

    @property
    def identity(self) -> str:
        """Everything that decides pixel values, in one line."""
        return f"triptych-pixels-{_VERSION} {self._shape} {self.side}/{self.patch} {self.options.identity}"

    @property
    def _shape(self) -> str:
        return self.mode

    def digest(self, image: ImageInput) -> bytes:
        """16 bytes that identify the picture's features: its content, how much of it is seen, this preprocessing."""
        seen = self.identity + self._view(image.detail)
        return blake2b(image.digest + seen.encode(), digest_size=DIGEST_BYTES).digest()

    def _view(self, detail: Detail) -> str:
        """What sets the features at `detail` apart from those of the whole picture; "" where they are the same."""
        return ""

    def layout(self, width: int, height: int, detail: Detail = "high") -> AnyresLayout | None:
        """How tiles are put together again (LLaVA 1.6); None where one input is the whole picture."""
        return None

    def tiles(self, width: int, height: int, detail: Detail = "high") -> int:
        """Inputs of the vision tower for a picture of this size."""
        return 1

    def tokens(self, width: int, height: int, detail: Detail = "high") -> int:
        """Image tokens in the prompt for a picture of this size."""
        return (self.side // self.patch) ** 2

    @abstractmethod
    def pixel_values(self, image: ImageInput) -> np.ndarray:
        """float32 [tiles, 3, side, side]. Raises `ImageError` when the picture cannot be decoded."""

    def _normalise(self, squares: Sequence[Image.Image]) -> np.ndarray:
        """RGB squares to float32 [n, 3, side, side]; exact, because there are only 256 values per channel."""
        table = self.options.table()
        out = np.empty((len(squares), 3, self.side, self.side), dtype=np.float32)
        for number, square in enumerate(squares):
            values = np.asarray(square)
            for channel in range(3):
                np.take(table[channel], values[..., channel], out=out[number, channel])
        return out


class SquareCrop(Preprocessor):
    """LLaVA 1.5 as converted checkpoints do it: shorter edge to `side`, then the centre."""

    __slots__ = ()

    @property
    def mode(self) -> str:
        return "crop"

    def pixel_values(self, image: ImageInput) -> np.ndarray:
        return self._normalise([crop_after_resize(image.pixels(), self.side)])


class SquarePad(Preprocessor):
    """LLaVA 1.5 as its authors do it: padded to a square in the mean colour, then to `side`."""

    __slots__ = ()

    @property
    def mode(self) -> str:
        return "pad"

    def pixel_values(self, image: ImageInput) -> np.ndarray:
        colour = self.options.background
        return self._normalise([resize_after_pad(image.pixels(), self.side, colour)])


@dataclass(frozen=True, slots=True)
class Anyres(Preprocessor):
    """LLaVA 1.6: the whole picture squeezed to `side` x `side` (the base tile), then the tiles of a padded canvas by
    rows; at low detail the base tile alone.
    """

    pinpoints: tuple[Canvas, ...]

    @property
    def mode(self) -> str:
        return "anyres"

    @property
    def _shape(self) -> str:
        return f"{self.mode} " + ",".join(f"{height}x{width}" for height, width in self.pinpoints)

    def _view(self, detail: Detail) -> str:
        return " base tile" if detail == "low" else ""

    def layout(self, width: int, height: int, detail: Detail = "high") -> AnyresLayout:
        if detail == "low":
            return base_layout(self.side, self.patch)
        return compute_layout(width, height, self.pinpoints, self.side, self.patch)

    def tiles(self, width: int, height: int, detail: Detail = "high") -> int:
        return self.layout(width, height, detail).tiles

    def tokens(self, width: int, height: int, detail: Detail = "high") -> int:
        return self.layout(width, height, detail).tokens

    def pixel_values(self, image: ImageInput) -> np.ndarray:
        picture, side = image.pixels(), self.side
        base = picture.resize((side, side), BICUBIC)
        if image.detail == "low":
            return self._normalise([base])
        return self._normalise([base, *self._cut(picture)])

    def _cut(self, picture: Image.Image) -> Iterator[Image.Image]:
        """The tiles of the canvas, by rows."""
        side, layout = self.side, self.layout(picture.width, picture.height)
        canvas = Image.new("RGB", layout.canvas[::-1])  # black
        canvas.paste(picture.resize(layout.resized[::-1], BICUBIC), layout.offset[::-1])
        for top in range(0, canvas.height, side):
            for left in range(0, canvas.width, side):
                yield canvas.crop((left, top, left + side, top + side))


def _pinpoints(
    folder: Path, config: ModelConfig, stored: tuple[Canvas, ...] | None
) -> tuple[Canvas, ...]:
    """The canvases of the model, which the processor's must equal: its features are put together by them."""
    given = config.grid_pinpoints or stored
    if not given:
        raise CheckpointError(f"{folder}: config.json has no image_grid_pinpoints; download it again")
    pinpoints = tuple((int(height), int(width)) for height, width in given)
    if stored is not None and stored != pinpoints:
        raise CheckpointError(
            f"{folder}: image_grid_pinpoints of config.json {list(pinpoints)} and of the image processor "
            f"{list(stored)} differ; make them equal"
        )
    side = config.vision.image_size if config.vision else 0
    if any(height % side or width % side or not height or not width for height, width in pinpoints):
        raise CheckpointError(f"{folder}: image_grid_pinpoints must be multiples of the tile's {side} px")
    return pinpoints
