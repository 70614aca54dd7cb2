"""The bytes of an image, from wherever a request says it is: an http(s) URL, a data URI, base64."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from dataclasses import dataclass
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver

from ... import __version__
from .addresses import RefusedError
from .download import WAY_OUT, Download
from .failure import Code, FetchError
from .guard import Guard, guarded_session
from .inline import MAX_BYTES, read_base64, read_data_uri
from .urls import parse_url

__all__ = ["Code", "FetchError", "FetchLimits", "ImageFetcher", "read_base64", "read_data_uri"]

log = logging.getLogger("triptych.delivery")

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]{0,30}):")
# Text of this size, in characters, is decoded on a thread: it would hold up the event loop.
_LARGE = 1 << 18
# No compression: the size that is counted is the size of the image.
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": f"triptych/{__version__}"}


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What an image may cost.

    max_bytes        size of the encoded file
    seconds          from the call to the last byte: waiting for a turn, every try, redirect and address
    connect_seconds  of that, for connecting to one address
    at_once          downloads at one time; others wait
    """

    max_bytes: int = MAX_BYTES
    seconds: float = 10.0
    connect_seconds: float = 5.0
    at_once: int = 32


DEFAULT_LIMITS = FetchLimits()


class ImageFetcher:
    """Fetches images for callers, from the addresses that `guard` allows. Belongs to one event loop; close it there.

    `resolver` takes the place of the system's; `proxy` is described at `guarded_session`.
    """

    def __init__(
        self,
        guard: Guard,
        limits: FetchLimits = DEFAULT_LIMITS,
        *,
        resolver: AbstractResolver | None = None,
        proxy: str | None = None,
    ) -> None:
        self._guard = guard
        self._limits = limits
        self._resolver = resolver
        self._proxy = proxy
        self._turns = asyncio.Semaphore(limits.at_once)
        self._session: aiohttp.ClientSession | None = None

    async def read(self, source: str) -> bytes:
        """The bytes behind an http(s) URL or a data URI, or of bare base64. Raises FetchError."""
        scheme = _SCHEME.match(source)
        name = scheme[1].lower() if scheme else ""
        if name not in ("", "data"):
            return await self.fetch(source)
        decode = read_data_uri if name == "data" else read_base64
        if len(source) > _LARGE:
            return await asyncio.to_thread(decode, source, self._limits.max_bytes)
        return decode(source, self._limits.max_bytes)

    async def fetch(self, url: str) -> bytes:
        """The bytes behind an http or https URL. Raises FetchError; cancelling it ends the download."""
        try:
            download = Download(self._open_session(), parse_url(url), self._limits.max_bytes)
        except RefusedError as error:
            raise FetchError(f"the image cannot be fetched: {error}; {WAY_OUT}", "invalid_image_url") from None
        host, began, started = download.url.raw_host, time.monotonic(), False
        try:
            async with asyncio.timeout(self._limits.seconds), self._turns:
                started = True
                data = await download.run()
        except RefusedError as error:
            message = f"the image cannot be fetched from {host}: {error}; {WAY_OUT}"
            failure = FetchError(message, "invalid_image_url")
        except TimeoutError:
            failure = download.failed(
                f"it took longer than {self._limits.seconds:g} s"
                if started
                else f"its turn did not come within {self._limits.seconds:g} s"
            )
        except FetchError as error:
            failure = error
        else:
            log.info("image from %s: %d bytes in %.2f s", host, len(data), time.monotonic() - began)
            return data
        log.info("no image from %s after %.2f s: %s", host, time.monotonic() - began, failure)
        raise failure

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_seconds)
            self._session = guarded_session(
                self._guard, timeout, headers=_HEADERS, resolver=self._resolver, proxy=self._proxy
            )
        return self._session

    async def close(self) -> None:
        """End what is under way and close the connections that are kept."""
        if self._session is not None:
            await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
