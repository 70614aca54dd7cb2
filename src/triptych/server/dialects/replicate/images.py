"""The image of a prediction: what the caller wrote, as a source that is still there when the prediction runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ....engine.errors import TriptychError
from ...exchange import Exchange
from ...files.library import FileLibrary
from ...origin import origin
from ...pictures import media_type
from ...service import FILE, Service
from ...store.predictions import INPUT_FILE
from .errors import RefusedError
from .form import base_of

_OWN = re.compile(r"(?:/replicate|/openai)?(?:/v1){0,2}/files/(?:file-)?([0-9a-z]{26})(?:/download|/content)?/?")
_SHOWN_OF_DATA = 48


@dataclass(frozen=True, slots=True)
class Image:
    """`source` is for the prediction, `shown` stands in its input in place of what was sent."""

    source: str
    shown: str


async def keep(service: Service, files: FileLibrary, exchange: Exchange, sent: str) -> Image:
    """An image as a file of ours if its bytes were sent or are here already; other URLs are fetched when the prediction
    runs. Raises RefusedError for bytes that cannot be read.
    """
    if sent[:5].lower() == "data:":
        try:
            data = await service.fetch(sent)
        except TriptychError as error:
            raise RefusedError(f"image: {error}") from None
        kind = media_type(data)
        name = "image" if kind is None else f"image.{kind.rpartition('/')[2]}"
        record = await files.add(exchange.owner, INPUT_FILE, name, kind or "application/octet-stream", data)
        return Image(FILE + record.id, f"{base_of(exchange)}/files/{record.id}")
    return Image(await _own(files, exchange, sent) or sent, sent)


async def _own(files: FileLibrary, exchange: Exchange, url: str) -> str | None:
    """The file that a URL of ours stands for, under whichever of the server's names: never fetched over HTTP, where the
    answer would be what is known of the file. A URL of another server may look the same.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    found = _OWN.fullmatch(parts.path)
    if parts.scheme.lower() not in ("http", "https") or found is None:
        return None
    same = parts.netloc == urlsplit(origin(exchange.scope, exchange.headers)).netloc
    return FILE + found[1] if same or await files.get(exchange.owner, found[1]) is not None else None


def shortened(text: str) -> str:
    """A data URI as far as it tells what it is; any other text as it is."""
    if text[:5].lower() != "data:" or len(text) <= _SHOWN_OF_DATA:
        return text
    return f"{text[:_SHOWN_OF_DATA]}... ({len(text)} characters)"
