"""Replicate's errors: problem objects, and which of our own errors has which status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from ....engine.errors import TriptychError
from ...accounts.errors import BudgetError, ForbiddenError, KeysUnknownError, RateLimitError, WrongKeyError
from ...endpoint import BodyTooLargeError, FormError, NotAcceptingError, Refusal, WrongContentTypeError
from ...files.blobs import BlobError
from ...generation import ModelUnavailableError, UnknownModelError
from ...store.store import StoreError
from .form import to_json

CONTENT_TYPE = "application/problem+json"
_CODES = {
    400: "bad_request", 401: "unauthenticated", 402: "billing", 403: "forbidden", 404: "not_found",
    405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type", 422: "invalid", 429: "throttled",
    503: "unavailable",
}  # fmt: skip
_RETRY_AFTER = "retry-after"
_NOT_FOUND = "The requested resource could not be found."


@dataclass(frozen=True, slots=True)
class Invalid:
    """One thing that is wrong with a body: `field` is `input`, `input.<name>`, another field, or "" for all of it."""

    type: str
    field: str
    description: str

    @property
    def line(self) -> str:
        return f"- {self.field}: {self.description}\n" if self.field else f"- {self.description}\n"


class ProblemError(Exception):
    """An answer that is an error. `detail` is always a text: clients read nothing else. A header that says after how
    many seconds to try again is in the body as well.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        title: str | None = None,
        invalid: Sequence[Invalid] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.title = title
        self.invalid = tuple(invalid)
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        told: dict[str, Any] = {} if self.title is None else {"title": self.title}
        told |= {"detail": self.detail, "status": self.status}
        if (seconds := self.headers.get(_RETRY_AFTER)) is not None:
            told["retry_after"] = int(seconds)
        if self.invalid:
            told["invalid_fields"] = [
                {"type": each.type, "field": each.field, "description": each.description} for each in self.invalid
            ]
        return told


class RefusedError(TriptychError):
    """What is asked cannot be run: the prediction fails with this reason, as it would when it began."""


def invalid(*problems: Invalid) -> ProblemError:
    """422: a line for each."""
    return ProblemError(422, "".join(each.line for each in problems), "Input validation failed", problems)


def not_found(what: str = "") -> ProblemError:
    """404, with what is missing if that helps."""
    return ProblemError(404, f"{_NOT_FOUND} {what}".strip())


def fixed(what: str) -> ProblemError:
    """403: `what` is the operator's to change, not a caller's."""
    return ProblemError(403, f"{what} of this server are set by its operator and cannot be changed over this API.")


def wrong_method(method: str, path: str) -> ProblemError:
    return ProblemError(405, f'Method "{method}" not allowed at {path}.')


def refusal(error: Exception) -> Refusal:
    """Any error in Replicate's form."""
    told = from_error(error)
    code = _CODES.get(told.status, "internal_error")
    return Refusal(told.status, to_json(told.body()), code, told.headers, CONTENT_TYPE)


def from_error(error: Exception) -> ProblemError:
    """Our own errors in Replicate's words."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, WrongKeyError):
        said = "a valid authentication token" if error.given else "an authentication token"
        headers = {"www-authenticate": "Bearer"}
        why = f" ({error.why})" if error.why else ""
        return ProblemError(401, f"You did not pass {said}{why}", "Unauthenticated", headers=headers)
    if isinstance(error, ForbiddenError):
        return ProblemError(403, _sentence(error), "Forbidden")
    if isinstance(error, BudgetError):
        seconds = error.retry_after
        headers = {} if seconds is None else {"retry-after": str(ceil(seconds))}
        return ProblemError(402, _sentence(error), "Insufficient credit", headers=headers)
    if isinstance(error, RateLimitError):
        seconds = ceil(error.retry_after)
        detail = f"Request was throttled. {_sentence(error)} Your rate limit resets in ~{seconds}s."
        return ProblemError(429, detail, "Too many requests", headers={_RETRY_AFTER: str(seconds)})
    if isinstance(error, KeysUnknownError):
        return _unavailable("Keys cannot be looked up now.", 10)
    if isinstance(error, NotAcceptingError):
        return _unavailable("The server is about to stop.", 5)
    if isinstance(error, BodyTooLargeError):
        return ProblemError(413, f"The body is over the limit of {error.most} bytes.", "Request too large")
    if isinstance(error, WrongContentTypeError):
        return ProblemError(415, _sentence(error), "Unsupported media type")
    if isinstance(error, FormError):
        return ProblemError(400, _sentence(error))
    if isinstance(error, UnknownModelError):
        return not_found(str(error))
    if isinstance(error, ModelUnavailableError):
        return _unavailable(_sentence(error), round(error.retry_after))
    if isinstance(error, StoreError | BlobError):
        return _unavailable("What the server keeps cannot be reached now.", 10)
    if isinstance(error, RecursionError):
        return ProblemError(400, "The body is nested too deeply.")
    known = isinstance(error, TriptychError)
    told = _sentence(error) if known else "An internal error; the server's log has the details."
    # What failed so may have begun already: clients that repeat such a request by themselves shall not.
    return ProblemError(500, told, headers={"x-should-retry": "false"})


def _unavailable(detail: str, seconds: int) -> ProblemError:
    return ProblemError(503, detail, "Service unavailable", headers={_RETRY_AFTER: str(max(1, seconds))})


def _sentence(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return f"{text[0].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")
