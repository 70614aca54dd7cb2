"""What Replicate's answers have in common: JSON, times, links, pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ...exchange import Answer, Exchange
from ...origin import origin

_EPOCH = datetime(1970, 1, 1)
_encoder = msgspec.json.Encoder()


def to_json(value: Any) -> bytes:
    return _encoder.encode(value)


def time_of(us: int | None) -> str | None:
    """Microseconds since 1970 in RFC 3339, UTC, with six digits."""
    if us is None:
        return None
    return f"{(_EPOCH + timedelta(microseconds=us)).isoformat(timespec='microseconds')}Z"


def base_of(exchange: Exchange) -> str:
    """What the links of an answer begin with: the origin that the caller used, and the mount."""
    mount = "/replicate/v1" if exchange.scope["path"].startswith("/replicate") else "/v1"
    return origin(exchange.scope, exchange.headers) + mount


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An object; it is never kept on the way."""
    return Answer(to_json(value), status, headers={"cache-control": "no-store", **(headers or {})})


def page(results: Sequence[Any], following: str | None = None, previous: str | None = None) -> dict[str, Any]:
    return {"next": following, "previous": previous, "results": list(results)}
