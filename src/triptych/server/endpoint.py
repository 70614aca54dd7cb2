"""A route's work around its handler: key, body, answer, and every failure in the form of the dialect it belongs to."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .accounts.accounts import Accounts
from .accounts.errors import ForbiddenError, KeysUnknownError, RateLimitError, WrongKeyError
from .exchange import Answer, BodyTooLargeError, ClientGoneError, Download, Events, Exchange, Receive, Scope, Send
from .forms import FormError, read_form
from .service import Service
from .watch import Watch

log = logging.getLogger("triptych.server")

# The statuses of refusals by a limit: those say what the limits are, and what is left of them.
_TOO_MUCH = (402, 429)
# The last argument is the body as the endpoint's form reads it.
Handler = Callable[[Service, Exchange, Any], Awaitable[Answer | Events | Download]]


class NotAcceptingError(Exception):
    """The server is not up yet, or about to stop."""


class WrongContentTypeError(Exception):
    """By its own word the body has not the form that the route takes."""


@dataclass(frozen=True, slots=True)
class BodyForm:
    """How a route's bodies come: what they call themselves, how they are read, which of `Doors`' limits they have. With
    `may_be_empty` an empty one may call itself anything: some clients name a type of a body that is not there.
    """

    content_type: str
    read: Callable[[Exchange, int], Awaitable[Any]]
    limit: str
    by_default: bool = False
    may_be_empty: bool = False


JSON = BodyForm("application/json", Exchange.body, "most_body", by_default=True)
# Of routes that read no body.
NO_BODY = replace(JSON, may_be_empty=True)
FORM = BodyForm("multipart/form-data", read_form, "most_upload")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as it goes out. `code` is for the log."""

    status: int
    body: bytes
    code: str
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Doors:
    """What all endpoints of a server have in common; `accounts` say who may come in. `most_body` and `most_upload`, for
    forms with files, are in bytes.
    """

    service: Service
    watch: Watch
    accounts: Accounts
    most_body: int = 64 << 20
    most_upload: int = 512 << 20


class Endpoint:
    """One route of `dialect`; `refusal` writes an error in its form. `public` ones never ask for a key, those of an
    `admin` let no other key in.
    """

    def __init__(
        self,
        doors: Doors,
        dialect: str,
        route: str,
        handler: Handler,
        refusal: Callable[[Exception], Refusal],
        form: BodyForm = JSON,
        public: bool = False,
        admin: bool = False,
    ) -> None:
        self._doors = doors
        self._dialect = dialect
        self._route = route
        self._handler = handler
        self._refusal = refusal
        self._form = form
        self._most = getattr(doors, form.limit)
        self._public = public
        self._admin = admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        refused: Refusal | None = None
        try:
            self._admit(exchange)
            body = await self._form.read(exchange, self._most)
            await exchange.while_connected(self._serve(exchange, body))
        except ClientGoneError:
            pass
        except Exception as error:
            refused = self._refusal(error)
            if refused.status == 500:
                log.exception("request %s failed", exchange.request_id, exc_info=error)
            if not exchange.status:
                if refused.status in _TOO_MUCH and exchange.caller is not None:
                    exchange.limits = self._doors.accounts.headers(exchange.caller)
                await exchange.answer(Answer(refused.body, refused.status, refused.content_type, refused.headers))
        self._doors.watch.over(exchange, self._dialect, self._route, refused.code if refused else None)

    def _admit(self, exchange: Exchange) -> None:
        if not self._doors.watch.state.accepting:
            raise NotAcceptingError
        self._let_in(exchange)
        wanted = self._form.content_type
        default = wanted if self._form.by_default else ""
        kind = exchange.headers.get("content-type", default).partition(";")[0].strip().lower()
        excused = self._form.may_be_empty and _is_empty(exchange.headers)
        if exchange.scope["method"] == "POST" and kind != wanted and not excused:
            raise WrongContentTypeError(f"the content type must be {wanted}, not {kind or 'left out'}")
        encoding = exchange.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise WrongContentTypeError(f"a body with content-encoding {encoding} is not accepted; send it plain")

    def _let_in(self, exchange: Exchange) -> None:
        accounts = self._doors.accounts
        try:
            caller = accounts.caller(exchange.scope, exchange.headers)
        except (WrongKeyError, KeysUnknownError, RateLimitError) as error:
            if not self._public:
                raise
            exchange.unknown = error
            return
        if not self._public:
            caller.check(self._dialect)
            if self._admin and not caller.admin:
                raise ForbiddenError("this is for keys of administrators")
        exchange.caller, exchange.owner = caller, caller.id

    async def _serve(self, exchange: Exchange, body: Any) -> None:
        answer = await self._handler(self._doors.service, exchange, body)
        if isinstance(answer, Events):
            await exchange.stream(answer)
        elif isinstance(answer, Download):
            await exchange.download(answer)
        else:
            await exchange.answer(answer)


def _is_empty(headers: Mapping[str, str]) -> bool:
    """Whether a request says that it has no body."""
    return headers.get("content-length", "0").strip() == "0" and "transfer-encoding" not in headers


__all__ = [
    "FORM",
    "JSON",
    "NO_BODY",
    "BodyForm",
    "BodyTooLargeError",
    "Doors",
    "Endpoint",
    "FormError",
    "Handler",
    "NotAcceptingError",
    "Refusal",
    "WrongContentTypeError",
    "WrongKeyError",
]
