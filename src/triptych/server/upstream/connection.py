"""HTTP to one upstream.

Its address is the operator's, from the settings, and not a caller's: so the guard of `delivery` does not stand here,
and private addresses, where such servers usually are, may be asked. Nothing that a caller writes reaches an address,
and no redirect is followed: the key would go along.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from ... import __version__
from ..generation import UpstreamError, UpstreamUnavailableError
from .failure import FailedError, Told, error_of, told_by

# Requests at one time; others wait for a connection.
_MOST_AT_ONCE = 512
# The largest answer that is no stream, and the most that is read of an error, in bytes.
_MOST_ANSWER, _MOST_ERROR = 64 << 20, 64 << 10


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: until a connection is open; until silence counts as failure, also before the first token; for a question
    that is answered without a model; between two looks at an upstream, when it answers and when it does not; the first
    pause before another try (the next one is twice as long), and the longest one.
    """

    connect: float = 5.0
    silence: float = 300.0
    question: float = 10.0
    look: float = 60.0
    look_again: float = 10.0
    pause: float = 0.2
    longest_pause: float = 2.0


TIMES = Times()


class Connection:
    """One upstream's address and key, for one event loop. `model` is what callers call the model, for errors."""

    def __init__(self, base_url: str, key: str, model: str, times: Times) -> None:
        self.base_url = base_url
        self.key = key
        self.times = times
        self._model = model
        self._session: aiohttp.ClientSession | None = None

    @property
    def root(self) -> str:
        """The address without the version: where vLLM has what OpenAI has not."""
        return self.base_url.removesuffix("/v1")

    @asynccontextmanager
    async def post(
        self, path: str, body: bytes, images: Sequence[str] = ()
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer with status 200; its body is still to come. The connection is cut when the block is left before the
        body's end. `images` are their places in the body, for errors. Raises FailedError.
        """
        answer = None
        try:
            answer = await self._open_session().post(f"{self.base_url}{path}", data=body, allow_redirects=False)
            if answer.status != 200:
                told = await self._told(answer)
                raise FailedError(error_of(told, self._model, images), told.passing, told.retry_after or 0.0)
            yield answer
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._broken(error) from error
        finally:
            if answer is not None:
                answer.close()

    async def whole(self, answer: aiohttp.ClientResponse) -> bytes:
        """The rest of a body. Raises FailedError for one that is too large."""
        body = bytearray()
        async for data in answer.content.iter_any():
            body += data
            if len(body) > _MOST_ANSWER:
                raise FailedError(UpstreamError(f"the server that answers for {self._model} sends no end"))
        return bytes(body)

    async def ask(self, url: str, body: bytes | None = None) -> tuple[Told | None, bytes]:
        """A short question to `url`, by POST if there is a body: what the upstream told if it refused, and its answer.
        Raises FailedError when there is none.
        """
        method = "GET" if body is None else "POST"
        try:
            async with (
                asyncio.timeout(self.times.question),
                self._open_session().request(method, url, data=body, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    return await self._told(answer), b""
                return None, await self.whole(answer)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._broken(error) from error

    async def _told(self, answer: aiohttp.ClientResponse) -> Told:
        """What it says about its failure; a beginning is enough."""
        body = bytearray()
        async for data in answer.content.iter_any():
            body += data
            if len(body) >= _MOST_ERROR:
                break
        return told_by(answer.status, answer.headers, bytes(body), self.key)

    def _broken(self, error: Exception) -> FailedError:
        server = f"the server that answers for {self._model}"
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return FailedError(UpstreamUnavailableError(f"{server} could not be reached in time"), True)
        if isinstance(error, TimeoutError):  # another try would take as long
            return FailedError(UpstreamUnavailableError(f"{server} was silent for too long"))
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
            return FailedError(UpstreamError(f"{server} shows no certificate that can be trusted"))
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = error.os_error.strerror or "no address"
            return FailedError(UpstreamUnavailableError(f"{server} cannot be reached ({reason})"), True)
        if isinstance(error, aiohttp.InvalidURL):
            return FailedError(UpstreamError(f"{server} has no usable base_url"))
        return FailedError(UpstreamUnavailableError(f"the connection to {server} broke ({type(error).__name__})"), True)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=self.times.connect, sock_read=self.times.silence
            )
            headers = {"Content-Type": "application/json", "User-Agent": f"triptych/{__version__}"}
            if self.key:
                headers["Authorization"] = f"Bearer {self.key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MOST_AT_ONCE), timeout=timeout, headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(), raise_for_status=False,
            )  # fmt: skip
        return self._session

    async def close(self) -> None:
        """Cut what is under way. It can be used again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
