"""The images of a request: URLs, data URIs and base64 to bytes with a digest, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b

from .generation import Picture

# A file of this size is hashed on a thread: it would hold up the event loop.
_LARGE = 1 << 18

_MARKS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"), (b"II*\0", "image/tiff"), (b"MM\0*", "image/tiff"),
)  # fmt: skip

Fetch = Callable[[str], Awaitable[bytes]]


def picture(data: bytes) -> Picture:
    """An encoded picture with the digest that the engine uses as well."""
    return Picture(blake2b(data, digest_size=16).digest(), data)


def media_type(data: bytes) -> str | None:
    """The media type of an encoded picture by its first bytes, whatever its sender calls it; None if it is none that a
    browser shows and Pillow reads.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return next((kind for mark, kind in _MARKS if data.startswith(mark)), None)


async def read_pictures(urls: Sequence[str], fetch: Fetch) -> list[Picture | Exception]:
    """The pictures behind `urls` in order, or what is wrong with each; equal URLs are read once."""
    distinct = list(dict.fromkeys(urls))
    if len(distinct) == 1:  # most often; a task for it would only cost
        read: list[Picture | BaseException] = [await _tried(distinct[0], fetch)]
    else:
        read = await asyncio.gather(*(_read(url, fetch) for url in distinct), return_exceptions=True)
    found: dict[str, Picture | Exception] = {}
    for url, result in zip(distinct, read, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
        found[url] = result
    return [found[url] for url in urls]


async def _tried(url: str, fetch: Fetch) -> Picture | Exception:
    try:
        return await _read(url, fetch)
    except Exception as error:
        return error


async def _read(url: str, fetch: Fetch) -> Picture:
    data = await fetch(url)
    return await asyncio.to_thread(picture, data) if len(data) > _LARGE else picture(data)
