"""Pictures as callers hand them in: opened by their header, identified by a digest, decoded when needed.

A picture's size and digest are known without decoding a pixel, and are all that prompt building needs. Pixels
are decoded with Pillow on each `pixels()` call and belong to the caller.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image

from ..errors import ImageError
from ..request import Detail
from .image_source import DEFAULT_LIMITS, ImageLimits, read_source

ImageSource = str | Path | bytes | Image.Image
T = TypeVar("T")

DIGEST_BYTES = 16
# The rest of what Pillow opens is rare, or runs an external program (EPS), or has no signature to know it by.
_FORMATS = (
    "JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "JPEG2000", "QOI",
)  # fmt: skip
_READABLE = "JPEG, PNG, WebP, GIF, AVIF, BMP or TIFF"
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class ImageInput:
    """One picture; equal when the content and the detail are.

    `data` is the encoded file, or an RGB picture when the caller had it decoded already. `width` and `height`
    are in pixels after EXIF rotation. `digest` (16 bytes) identifies the content, `label` is for messages. With
    `detail` "low" LLaVA 1.6 sees the picture's base tile alone; LLaVA 1.5 sees no more than one anyway.
    """

    data: bytes | Image.Image = field(repr=False, compare=False)
    width: int = field(compare=False)
    height: int = field(compare=False)
    digest: bytes
    label: str = field(default="image", compare=False)
    detail: Detail = "high"

    def pixels(self) -> Image.Image:
        """The decoded picture: mode RGB, 8 bits, upright, transparency on white. Raises `ImageError`."""
        if isinstance(self.data, Image.Image):
            return self.data.copy()
        with _open_header(self.data, self.label) as header:
            picture = _guarded(lambda: _upright_rgb(header), self.label)
        if picture.size != (self.width, self.height):
            raise ImageError(
                f"{self.label}: the header says {self.width}x{self.height} pixels but the content has "
                f"{picture.width}x{picture.height}; save the image again"
            )
        return picture


def open_image(
    source: ImageSource, *, limits: ImageLimits = DEFAULT_LIMITS, label: str | None = None, detail: Detail = "high"
) -> ImageInput:
    """A picture from a path, encoded bytes, a Pillow image, a `data:` URI or an http(s) URL.

    `label` is what messages call it, by default where it came from; `detail` is how much of it is to be seen. Only the
    header is read here (a Pillow image is decoded and copied, so that later changes to it do no harm). Raises
    `ImageError` in one line that names the picture: missing or empty file, not an image, a damaged header, more than
    `limits.max_pixels` pixels, a URL that does not deliver in time. Damage further inside shows when
    `pixels()` is called.
    """
    if isinstance(source, Image.Image):
        return _from_pillow(source, limits, label or "PIL image", detail)
    data, label = read_source(source, limits, label)
    with _open_header(data, label) as header:
        _check_size(*header.size, label, limits)
        turned = _orientation(header) >= 5
        width, height = header.size[::-1] if turned else header.size
    return ImageInput(data, width, height, blake2b(data, digest_size=DIGEST_BYTES).digest(), label, detail)


def _from_pillow(source: Image.Image, limits: ImageLimits, label: str, detail: Detail) -> ImageInput:
    _check_size(*source.size, label, limits)
    picture = _guarded(lambda: _upright_rgb(source), label)
    if picture is source:
        picture = source.copy()
    hasher = blake2b(f"rgb {picture.width}x{picture.height} ".encode(), digest_size=DIGEST_BYTES)
    hasher.update(picture.tobytes())
    return ImageInput(picture, picture.width, picture.height, hasher.digest(), label, detail)


def _open_header(data: bytes, label: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except Image.UnidentifiedImageError:
        raise ImageError(
            f"{label}: not an image, or its header is damaged; give a {_READABLE} file"
        ) from None
    except Image.DecompressionBombError:
        raise ImageError(f"{label}: the image has far too many pixels to be decoded; scale it down") from None
    except Exception as error:  # decoders raise anything on hostile bytes
        raise ImageError(f"{label}: the image's header is damaged ({_reason(error)})") from None


def _guarded(decode: Callable[[], T], label: str) -> T:
    """Runs a decoder; whatever it raises on damaged bytes becomes one `ImageError`."""
    try:
        return decode()
    except MemoryError:
        raise ImageError(f"{label}: not enough memory to decode the image; scale it down") from None
    except Exception as error:  # decoders raise anything on hostile bytes
        raise ImageError(
            f"{label}: the image is truncated or damaged ({_reason(error)}); copy or save it again"
        ) from None


def _check_size(width: int, height: int, label: str, limits: ImageLimits) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{label}: the image is {width}x{height} pixels; it needs at least one")
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise ImageError(
            f"{label}: {width}x{height} pixels is over the limit of {limits.max_pixels:,} pixels, "
            f"{limits.max_side:,} on a side; scale it down or raise ImageLimits"
        )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8, from what was read with the header."""
    if image.format == "TIFF":
        return 1  # Pillow turns TIFF files by itself, and reports the turned size
    try:
        # Not image.getexif(): for PNG that decodes the whole picture in search of a late EXIF chunk.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block is no reason to refuse the picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()  # the first frame of an animation
    orientation = _orientation(image)  # after loading: a Pillow TIFF has been turned by now
    picture = _to_rgb(image)
    method = _TRANSPOSES.get(orientation)
    return picture.transpose(method) if method is not None else picture


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB with transparency composited on white, as transformers 5 does it.

    One deliberate difference: 16-bit greys are scaled to 8 bits (Pillow clips them, which shows white).
    """
    if image.mode in _SIXTEEN_BIT or (image.mode == "I" and _exceeds_byte(image)):
        # Pillow's own reader of 16-bit colour keeps the high byte; the same for greys.
        high = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        return Image.fromarray(high.astype(np.uint8)).convert("RGB")
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _exceeds_byte(image: Image.Image) -> bool:
    extrema = image.getextrema()
    return isinstance(extrema[1], int | float) and extrema[1] > 255


@lru_cache(maxsize=1)
def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
