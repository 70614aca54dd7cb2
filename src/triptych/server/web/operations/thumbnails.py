"""Small pictures of what predictions were shown."""

from __future__ import annotations

import asyncio
import io
from typing import Any

from ....engine.errors import TriptychError
from ...files.blobs import BlobError
from ...files.library import FileLibrary
from ...predictions.stored import read_stored
from ...service import FILE
from ...store.predictions import PredictionRecord

SIDE = 320
# Pixels: what is larger takes too much memory for a thumbnail.
_MOST_PIXELS = 30_000_000
_MOST_BYTES = 32 << 20


class Thumbnails:
    """Of stored files, made when they are asked for, one at a time: decoding takes memory."""

    def __init__(self, files: FileLibrary) -> None:
        self._files = files
        self._one = asyncio.Semaphore(1)

    async def of(self, record: PredictionRecord, number: int) -> bytes | None:
        """A prediction's picture as WebP of up to `SIDE` pixels a side; None if its file is gone or cannot be read."""
        names = sources(record)
        if not 0 <= number < len(names) or not names[number].startswith(FILE):
            return None
        try:
            file = await self._files.get(record.owner, names[number].removeprefix(FILE))
            if file is None or file.size > _MOST_BYTES:
                return None
            async with self._one:
                data = b"".join([part async for part in await self._files.content(file)])
                return await asyncio.to_thread(_small, data)
        except (TriptychError, BlobError):
            return None


def sources(record: PredictionRecord) -> tuple[str, ...]:
    """Where a prediction has its pictures from; nothing once its data were removed."""
    return read_stored(record.generation).sources if record.generation else ()


def _small(data: bytes) -> bytes:
    # Loaded when there is a picture to show: most servers' pages are never looked at.
    from ....engine.imaging.image_source import ImageLimits
    from ....engine.imaging.images import open_image

    picture: Any = open_image(data, limits=ImageLimits(max_pixels=_MOST_PIXELS)).pixels()
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=80)
    return out.getvalue()
