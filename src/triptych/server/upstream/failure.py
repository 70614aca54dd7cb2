"""What an upstream says when it fails, as our own errors: whose fault it is decides which.

The caller's faults keep the upstream's words. Addresses and keys never reach a caller.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import msgspec

from ...engine.errors import (
    ConstraintError,
    ContextOverflowError,
    ImageError,
    ParameterError,
    PromptError,
    TriptychError,
)
from ..generation import UpstreamError, UpstreamUnavailableError

_LONGEST = 1000
_BUSY = (408, 409, 429)
_OVERFLOW = re.compile(
    r"maximum context length|context (?:length|size|window)|maximum (?:allowed|model|input) length|max_model_len|"
    r"longer than the (?:model|maximum)",
    re.IGNORECASE,
)
_OVERFLOW_CODES = ("context_length_exceeded", "exceed_context_size_error")
_IMAGE_CODE = re.compile(r"image", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_]{1,60}")


@dataclass(frozen=True, slots=True)
class Told:
    """An error as an upstream tells it. `status` is of HTTP, or the number in an error of a stream; `again` says that
    it does not forbid to ask again.
    """

    status: int
    message: str = ""
    code: str = ""
    param: str = ""
    retry_after: float | None = None
    again: bool = True

    @property
    def passing(self) -> bool:
        """Whether the same request may be answered a little later."""
        return self.again and (self.status in _BUSY or self.status >= 500)


class FailedError(Exception):
    """A try at an upstream failed; `error` is what the caller hears, `again` whether another try may help, and
    `retry_after` the seconds that the upstream wants to be left alone.
    """

    def __init__(self, error: TriptychError, again: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.again = again
        self.retry_after = retry_after


def told_by(status: int, headers: Any, body: bytes, key: str) -> Told:
    """An answer that is no answer. `headers` are read by lower-case names; `key` is what must not be repeated."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    retry_after = _seconds(headers.get("retry-after"))
    again = str(headers.get("x-should-retry", "")).lower() != "false"
    return read_error(value, status, key, retry_after, again)


def read_error(
    value: Any, status: int, key: str, retry_after: float | None = None, again: bool = True
) -> Told:
    """The error in a JSON body or in an event of a stream: OpenAI's object, a flat one, a text, FastAPI's details."""
    inner = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(inner, str):
        inner = {"message": inner}
    if not isinstance(inner, dict):
        inner = {}
    message = inner.get("message") or inner.get("detail") or ""
    message = message if isinstance(message, str) else msgspec.json.encode(message).decode(errors="replace")
    code, kind = inner.get("code"), inner.get("type")
    if status == 200:  # in a stream; the number of the failure is in its object, if anywhere
        status = code if isinstance(code, int) and 400 <= code < 600 else _status_of(kind, code)
    param = inner.get("param")
    return Told(
        status, _clean(message, key), code if isinstance(code, str) else str(kind or ""),
        param if isinstance(param, str) else "", retry_after, again,
    )  # fmt: skip


def _status_of(kind: Any, code: Any) -> int:
    """The status that an error without a number would have had."""
    words = f"{kind} {code}".lower()
    if "rate_limit" in words or "overloaded" in words:
        return 429
    faults = ("invalid_request", "badrequest", "bad_request", "invalid_value", *_OVERFLOW_CODES)
    return 400 if any(word in words for word in faults) else 500


def _seconds(header: str | None) -> float | None:
    """Retry-After: seconds, or a date."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except ValueError:
        return None


def _clean(text: str, key: str) -> str:
    """On one line, not too long, and without our key."""
    if key:
        text = text.replace(key, "(key hidden)")
    text = " ".join(text.split()).removesuffix(".")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def error_of(told: Told, model: str, images: Sequence[str] = ()) -> TriptychError:
    """What a caller of the served `model` hears. `images` are the places of the request's images in what was sent."""
    status, server = told.status, f"the server that answers for {model}"
    if status in (401, 403):  # its words may hold a part of the key
        return UpstreamError(f"{server} refused this server's key ({status})")
    if status == 404:
        return UpstreamError(f"{server} does not have the model{_words(told)}")
    if 300 <= status < 400:
        return UpstreamError(f"{server} redirects elsewhere ({status}), which is not followed: base_url must be final")
    if status in (400, 413, 422):
        return _fault(told, model, images)
    if status in _BUSY or status >= 500:
        wait = 5.0 if told.retry_after is None else told.retry_after
        return UpstreamUnavailableError(f"{server} cannot answer now ({status}){_words(told)}", wait)
    return UpstreamError(f"{server} refused the request ({status}){_words(told)}")


def _words(told: Told) -> str:
    return f": {told.message}" if told.message else ""


def _fault(told: Told, model: str, images: Sequence[str]) -> TriptychError:
    """What is wrong with the request itself."""
    text = told.message or f"the server that answers for {model} refused the request ({told.status}) without a reason"
    if told.code in _OVERFLOW_CODES or _OVERFLOW.search(text):
        return ContextOverflowError(text)
    for number, place in enumerate(images):
        if told.param.startswith(place):
            return ImageError(f"images[{number}]: {text}")
    if images and _IMAGE_CODE.search(told.code):
        return ImageError(text)
    if told.code == "invalid_json_schema":
        return ConstraintError(text.removeprefix("Invalid schema for response_format: "), "response_format")
    if told.status == 413:
        return PromptError(text)
    # A path leads into what was sent, which is not what the caller wrote.
    return ParameterError(text, told.param if _NAME.fullmatch(told.param) else "")
