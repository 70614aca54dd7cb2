"""The images of a request: URLs, data URIs and base64 to bytes with a digest, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b

from .generation import Picture

# A file of this size is hashed on a thread: it would hold up the event loop.
_LARGE = 1 << 18

Fetch = Callable[[str], Awaitable[bytes]]


def picture(data: bytes) -> Picture:
    """An encoded picture with the digest that the engine uses as well."""
    return Picture(blake2b(data, digest_size=16).digest(), data)


async def read_pictures(urls: Sequence[str], fetch: Fetch) -> list[Picture | Exception]:
    """The pictures behind `urls` in order, or what is wrong with each; equal URLs are read once."""
    distinct = list(dict.fromkeys(urls))
    read = await asyncio.gather(*(_read(url, fetch) for url in distinct), return_exceptions=True)
    found: dict[str, Picture | Exception] = {}
    for url, result in zip(distinct, read, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
        found[url] = result
    return [found[url] for url in urls]


async def _read(url: str, fetch: Fetch) -> Picture:
    data = await fetch(url)
    return await asyncio.to_thread(picture, data) if len(data) > _LARGE else picture(data)
