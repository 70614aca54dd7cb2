"""A route's work around its handler: key, body, answer, and every failure in the form of the dialect it belongs to."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from .exchange import Answer, BodyTooLargeError, ClientGoneError, Events, Exchange, Receive, Scope, Send
from .service import Service
from .watch import Watch

log = logging.getLogger("triptych.server")

Handler = Callable[[Service, Exchange, bytes], Awaitable[Answer | Events]]


class NotAcceptingError(Exception):
    """The server is not up yet, or about to stop."""


class WrongKeyError(Exception):
    """A key is needed, and none or a wrong one was given."""


class WrongContentTypeError(Exception):
    """The body is no plain JSON by its own word."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as it goes out. `code` is for the log."""

    status: int
    body: bytes
    code: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Doors:
    """What all endpoints of a server have in common. No `keys`: no key is asked for. `most_body` is in bytes."""

    service: Service
    watch: Watch
    keys: tuple[str, ...] = ()
    most_body: int = 64 << 20


class Endpoint:
    """One route of `dialect`; `refusal` writes an error in its form."""

    def __init__(
        self, doors: Doors, dialect: str, route: str, handler: Handler, refusal: Callable[[Exception], Refusal]
    ) -> None:
        self._doors = doors
        self._dialect = dialect
        self._route = route
        self._handler = handler
        self._refusal = refusal
        self._keys = [key.encode() for key in doors.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        refused: Refusal | None = None
        try:
            self._admit(exchange)
            body = await exchange.body(self._doors.most_body)
            await exchange.while_connected(self._serve(exchange, body))
        except ClientGoneError:
            pass
        except Exception as error:
            refused = self._refusal(error)
            if refused.status == 500:
                log.exception("request %s failed", exchange.request_id, exc_info=error)
            if not exchange.status:
                await exchange.answer(Answer(refused.body, refused.status, headers=refused.headers))
        self._doors.watch.over(exchange, self._dialect, self._route, refused.code if refused else None)

    def _admit(self, exchange: Exchange) -> None:
        if not self._doors.watch.state.accepting:
            raise NotAcceptingError
        if self._keys and not _known(exchange.headers.get("authorization", ""), self._keys):
            raise WrongKeyError
        kind = exchange.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if exchange.scope["method"] == "POST" and kind != "application/json":
            raise WrongContentTypeError(f"the content type must be application/json, not {kind}")
        encoding = exchange.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise WrongContentTypeError(f"a body with content-encoding {encoding} is not accepted; send it plain")

    async def _serve(self, exchange: Exchange, body: bytes) -> None:
        answer = await self._handler(self._doors.service, exchange, body)
        if isinstance(answer, Events):
            await exchange.stream(answer)
        else:
            await exchange.answer(answer)


def _known(authorization: str, keys: Sequence[bytes]) -> bool:
    """Whether the bearer token is one of `keys`. All are compared, so that the time says nothing of which."""
    scheme, _, token = authorization.partition(" ")
    given = token.strip().encode() if scheme.lower() == "bearer" else b""
    return sum(hmac.compare_digest(given, key) for key in keys) > 0


__all__ = [
    "BodyTooLargeError",
    "Doors",
    "Endpoint",
    "Handler",
    "NotAcceptingError",
    "Refusal",
    "WrongContentTypeError",
    "WrongKeyError",
]
