"""One message to one URL that a caller chose: sent once, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from ... import __version__
from .addresses import RefusedError
from .guard import Guard, guarded_session
from .schedule import retry_after
from .urls import WEB_SCHEMES, parse_url

_HEADERS = {
    "Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": f"triptych/{__version__}",
}  # fmt: skip
_CONNECT_SECONDS = 5.0
# Of an answer only the status counts. A short one is read all the same, so that the connection can be used again.
_READ_BYTES = 16 << 10
_READ_SECONDS = 1.0
# Answers of a receiver, or of a proxy before it, that has too much to do.
_BUSY = frozenset({429, 502, 503, 504})
_GONE = 410


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a try: the `status` of an answer, and an `error` in words if it was no success; `refused` before
    anything was sent, because it is against the rules of this server. `asked` are the seconds that the receiver wants
    to be left alone.
    """

    status: int | None = None
    error: str | None = None
    asked: float = 0.0
    refused: bool = False

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """The receiver wants nothing more at this URL."""
        return self.status == _GONE

    @property
    def slow_down(self) -> bool:
        """The receiver has too much to do, or cannot be reached."""
        return not self.refused and (self.status is None or self.status in _BUSY or self.asked > 0)


def webhook_url(text: str, http: bool) -> URL:
    """The URL of a receiver, with https unless `http` is allowed too. Raises RefusedError."""
    return parse_url(text, WEB_SCHEMES if http else ("https",))


class Poster:
    """Sends to the addresses that `guard` allows, by https alone unless `http` is allowed; `seconds` are for all of a
    try. Belongs to one event loop; close it there. `resolver` takes the place of the system's; `proxy` is described at
    `guarded_session`.
    """

    def __init__(
        self, guard: Guard, *, http: bool = False, seconds: float = 15.0, resolver: AbstractResolver | None = None,
        proxy: str | None = None,
    ) -> None:
        self.http = http
        self._guard = guard
        self._seconds = seconds
        self._resolver = resolver
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None

    def check(self, url: str) -> None:
        """Raises RefusedError if `url` is none, or it is clear from it alone that nothing will be sent there: callers
        hear of it before there is something to send.
        """
        target = webhook_url(url, self.http)
        if self._proxy is None:
            self._guard.check_url(target)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, method: str = "POST") -> Reply:
        """Send `body`, which is JSON unless `headers` say otherwise. Redirects are not followed: what was signed is for
        the URL that was given.
        """
        answers: list[Reply] = []
        try:
            target = webhook_url(url, self.http)
            async with asyncio.timeout(self._seconds):
                await self._send(method, target, headers, body, answers)
        except RefusedError as error:
            return Reply(error=str(error), refused=True)
        except TimeoutError:
            return answers[0] if answers else Reply(error=f"it did not answer within {self._seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:  # with the address in their text
            return answers[0] if answers else Reply(error=_reason(error))
        return answers[0]

    async def _send(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes, answers: list[Reply]
    ) -> None:
        session = self._open_session()
        async with session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
            answers.append(_reply(response))
            with suppress(TimeoutError):
                async with asyncio.timeout(_READ_SECONDS):
                    size = 0
                    async for piece in response.content.iter_any():
                        size += len(piece)
                        if size > _READ_BYTES:
                            break
            if not response.content.at_eof():
                response.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
            self._session = guarded_session(
                self._guard, timeout, headers=_HEADERS, resolver=self._resolver, proxy=self._proxy
            )
        return self._session

    async def close(self) -> None:
        """End what is under way and close the connections that are kept."""
        if self._session is not None:
            await self._session.close()


def _reply(response: aiohttp.ClientResponse) -> Reply:
    status = response.status
    asked = retry_after(response.headers.get("Retry-After", ""))
    if 200 <= status < 300:
        return Reply(status)
    if 300 <= status < 400:
        return Reply(status, f"it redirects (status {status}), which is not followed", asked)
    return Reply(status, f"it answered with status {status}", asked)


def _reason(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "its name cannot be resolved"
        case aiohttp.ClientSSLError():
            return "its certificate or its TLS is not valid"
        case aiohttp.ServerTimeoutError():
            return "it cannot be connected to in time"
        case aiohttp.ClientConnectorError():
            return "it cannot be connected to"
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError():
            return "the connection broke"
        case _:
            return "its answer is not proper HTTP"
