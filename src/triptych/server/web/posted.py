"""Forms that pages send: from this server's own pages only."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from ..endpoint import BodyForm
from ..exchange import Answer, Exchange
from ..origin import same_origin
from .page_routes import PageError
from .pages import GUARDS, HTML

_MOST_BYTES = 64 << 10
_MOST_FIELDS = 200

Fields = Mapping[str, tuple[str, ...]]


async def read_fields(exchange: Exchange, most: int) -> Fields:
    """The values of each field, in their order. Raises PageError for a form of another page and for one that cannot be
    read, BodyTooLargeError, ClientGoneError.
    """
    if not same_origin(exchange.scope, exchange.headers):
        raise PageError(
            "The form did not come from a page of this server. Open the page here and send it again.", 403,
            "That was not sent from here",
        )  # fmt: skip
    body = await exchange.body(min(most, _MOST_BYTES))
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise PageError("The form cannot be read.", 400, "Not a form of this page") from None
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        found[name] = (*found.get(name, ()), value)
    return found


FORM = BodyForm("application/x-www-form-urlencoded", read_fields, "most_body", may_be_empty=True)


def first(fields: Fields, name: str) -> str:
    """A field's only value without spaces around it, "" if it was left out."""
    return next(iter(fields.get(name, ())), "").strip()


def see_other(path: str, headers: Mapping[str, str] | None = None) -> Answer:
    """What follows on a form that was done: another page, which a browser loads by itself."""
    return Answer(b"", 303, HTML, {**GUARDS, "location": path, **(headers or {})})
