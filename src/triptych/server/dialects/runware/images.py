"""The image of a task: where it is among the fields, and what the text there stands for. It is never a local path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ....engine.errors import TriptychError
from ...delivery.addresses import RefusedError
from ...delivery.urls import parse_url
from ...files.library import FileLibrary
from ...pictures import media_type
from ...service import FILE, Service
from ...store.files import FileRecord
from ...store.predictions import INPUT_FILE
from .begun import Sender
from .errors import TaskError
from .fields import Fields, invalid, missing

PURPOSE = "runware_image"
# Since it was used last.
LASTS = 30 * 24 * 3600.0
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Where captions may have their image: the first one that is there counts.
PLACES = ("inputs.image", "inputs.images", "inputImage", "inputImages", "inputs.video")
MEDIA = "/media"
_OWN = re.compile(rf"(?:/runware)?/v1{MEDIA}/({UUID.pattern})(?:\.\w+)?", re.IGNORECASE)
# A host and a path without a scheme, as some clients pass on what they take for no file.
_BARE_URL = re.compile(r"[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,}(:\d+)?/\S+")
# Characters: what is longer is no name of an image but the image, of which so much is shown; and of a URL.
_MOST_SHOWN, _SHOWN_OF_DATA, MAX_LENGTH = 512, 48, 8192


@dataclass(frozen=True, slots=True)
class Kept:
    """`source` is for the prediction, `shown` stands in the task as it is kept, in place of what was sent."""

    source: str
    shown: str


def find(fields: Fields) -> tuple[str, str]:
    """Where a caption's image is, and what stands there. Raises TaskError."""
    place = next((place for place in PLACES if fields.get(place) is not None), None)
    if place is None:
        raise missing("inputs.image")
    value: Any = fields.get(place)
    if isinstance(value, list):
        if len(value) > 1:
            message = f"{place} has {len(value)} images; captions are of one."
            raise TaskError("unsupportedParameter", message, place, "string")
        value = value[0] if value else None
    if not isinstance(value, str) or not value.strip():
        raise invalid(place, "string", f"{place} must be a UUID, a URL, a data URI or base64.")
    return place, value.strip()


async def keep(service: Service, files: FileLibrary, sender: Sender, place: str, sent: str) -> Kept:
    """An image as a file of ours if its bytes were sent or are here already; other URLs are fetched when the prediction
    runs. Raises TaskError.
    """
    uuid = sent if UUID.fullmatch(sent) else await _own(files, sender, sent)
    if uuid is not None:
        record = await stored(files, sender.owner, uuid)
        if record is None:
            raise invalid(place, "string", f"There is no image {uuid}: it was not found or has expired.")
        await files.extend(record, LASTS)
        return Kept(FILE + record.id, sent)
    if url := _url(sent):
        try:
            parse_url(url)
        except RefusedError as error:
            raise invalid(place, "string", f"The image cannot be fetched: {error}.") from None
        return Kept(url, sent)
    data, kind = await read(service, place, sent)
    name = f"image.{kind.rpartition('/')[2]}"
    file = await files.add(sender.owner, INPUT_FILE, name, kind, data)
    return Kept(FILE + file.id, shortened(sent))


async def read(service: Service, place: str, sent: str) -> tuple[bytes, str]:
    """The bytes of an image, wherever they are, and its media type. Raises TaskError."""
    try:
        data = await service.fetch(_url(sent) or sent)
    except TriptychError as error:
        code = getattr(error, "code", "")
        if code == "failed_to_download_image":
            raise TaskError("downloadFailed", f"{place}: {error}.", place, "string") from None
        hint = "; a file of yours has to be uploaded first, with imageUpload" if _like_a_path(sent) else ""
        raise invalid(place, "string", f"{place}: {error}{hint}.") from None
    kind = media_type(data)
    if kind is None:
        message = f"{place} is no image: PNG, JPEG, WebP, GIF, BMP, TIFF and AVIF are."
        if place == "inputs.video":
            raise TaskError("unsupportedParameter", "Videos are not read, still images are.", place, "string")
        raise invalid(place, "string", message)
    return data, kind


async def stored(files: FileLibrary, owner: str, uuid: str) -> FileRecord | None:
    """The owner's upload with this UUID, if it has not expired."""
    record = await files.get(owner, uuid.lower())
    return record if record is not None and record.purpose == PURPOSE else None


async def _own(files: FileLibrary, sender: Sender, url: str) -> str | None:
    """The UUID of the upload that a URL of ours stands for, under whichever of the server's names."""
    if url[:4].lower() != "http":
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    found = _OWN.fullmatch(parts.path)
    if found is None:
        return None
    same = parts.netloc == urlsplit(sender.base).netloc
    return found[1] if same or await stored(files, sender.owner, found[1]) is not None else None


def written_out(sent: str) -> bool:
    """Whether this is an image itself, and not where it is."""
    return UUID.fullmatch(sent) is None and _url(sent) is None


def _url(sent: str) -> str | None:
    if re.match(r"https?:", sent, re.IGNORECASE):
        return sent
    return f"https://{sent}" if len(sent) < 2048 and _BARE_URL.fullmatch(sent) else None


def _like_a_path(sent: str) -> bool:
    return len(sent) < 4096 and ("/" in sent or "\\" in sent or "." in sent)


def shortened(text: str) -> str:
    """An image that was written out, as far as it tells what it is; any other text as it is."""
    if len(text) <= _MOST_SHOWN or (text[:4].lower() == "http" and len(text) <= MAX_LENGTH):
        return text
    return f"{text[:_SHOWN_OF_DATA]}... ({len(text)} characters)"
