"""One image from one URL: redirects, limits, and what went wrong in words."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
from yarl import URL

from .failure import FetchError
from .urls import redirect_url

_REDIRECTS = 3
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate", "compress", "br", "zstd"})
# Seconds before the second and the third try.
_PAUSES = (0.1, 0.4)
WAY_OUT = "send a base64 data URI instead"


class _PassingError(FetchError):
    """A failure that may be gone in a moment."""


@dataclass(frozen=True, slots=True)
class Download:
    """`url` as a caller gave it, to be fetched with a guarded session; at most `max_bytes`, counted as they arrive."""

    session: aiohttp.ClientSession
    url: URL
    max_bytes: int

    async def run(self) -> bytes:
        """The bytes. Three tries where another may help. Raises FetchError, and RefusedError from the guard."""
        for pause in _PAUSES:
            try:
                return await self._follow()
            except _PassingError:
                if self.session.closed:
                    raise
                await asyncio.sleep(pause)
        return await self._follow()

    async def _follow(self) -> bytes:
        url = self.url
        try:
            for _ in range(_REDIRECTS + 1):
                # Redirects by hand: aiohttp's own would take other schemes and credentials along.
                async with self.session.get(url, allow_redirects=False) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECT_STATUSES or not location:
                        return await self._read(response)
                url = redirect_url(url, location)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # with the address in their text
            raise self._failure(error) from None
        raise self.failed(f"it redirects more than {_REDIRECTS} times")

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if response.status >= 500:
            raise _PassingError(self._message(f"it answered with status {response.status}"), "failed_to_download_image")
        if response.status != 200:
            raise self.failed(f"it answered with status {response.status}")
        coding = response.headers.get("Content-Encoding", "").strip().lower()
        if coding in _COMPRESSED:
            raise self.failed(f"it compressed its answer ({coding}) although asked not to")
        self._check_size(response.content_length or 0)
        data = bytearray()  # not a list: a host that sends byte by byte would fill it with objects
        async for piece in response.content.iter_any():
            data += piece
            self._check_size(len(data))
        if not data:
            raise FetchError(f"the image from {self._host} is empty (0 bytes)", "empty_image_file")
        return bytes(data)

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise FetchError(
                f"the image from {self._host} is over the limit of {self.max_bytes:,} bytes; send a smaller one",
                "failed_to_download_image",
            )

    def failed(self, what: str) -> FetchError:
        """The error for a download that ended with `what`, said of the host."""
        return FetchError(self._message(what), "failed_to_download_image")

    def _failure(self, error: Exception) -> FetchError:
        match error:
            case aiohttp.ClientConnectorDNSError():
                return self.failed("its name cannot be resolved")
            case aiohttp.ClientSSLError():
                return self.failed("its certificate or its TLS is not valid")
            case aiohttp.ServerTimeoutError() | TimeoutError():
                return _PassingError(self._message("it cannot be connected to in time"), "failed_to_download_image")
            case aiohttp.ClientConnectorError():
                return self.failed("it cannot be connected to")
            case aiohttp.ClientPayloadError() | aiohttp.ClientConnectionError() | OSError():
                return _PassingError(self._message("the connection broke"), "failed_to_download_image")
            case _:
                return self.failed("its answer is not proper HTTP")

    def _message(self, what: str) -> str:
        return f"the image could not be downloaded from {self._host}: {what}; {WAY_OUT}"

    @property
    def _host(self) -> str:
        # The host that the caller wrote, also after a redirect: where that led may be nobody's business.
        return (self.url.raw_host or "")[:100]
