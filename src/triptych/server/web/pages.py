"""Pages from templates, and how they go out: what is in them is escaped, and nothing but this server's files loads."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ..exchange import Answer, Exchange
from .measures import FILTERS
from .static_files import accepts_gzip, asset

HTML = "text/html; charset=utf-8"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# `same-origin` lets our own forms say where they came from, which is how they are told from others' (a page without a
# referrer posts with `Origin: null`).
GUARDS = {
    "content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "same-origin",
    "cache-control": "private, no-cache", "vary": "accept-encoding, authorization, cookie",
}  # fmt: skip

_CODE = re.compile(r"`([^`]+)`")
_WORTH_PACKING = 1_000
# Twice as fast as the usual 6, and a tenth larger.
_EFFORT = 4


def render(template: str, **values: Any) -> str:
    """The page that `template` makes of `values`. Everything in them is escaped but `Markup`."""
    return _templates().get_template(template).render(**{"caller": None, "section": "", "sign_in": False, **values})


def shown(exchange: Exchange, template: str, status: int = 200, **values: Any) -> Answer:
    """The page for whoever asks in `exchange`; templates see them as `caller`."""
    values = {"caller": exchange.caller, **values}
    return html_answer(render(template, **values), exchange.headers, status)


def html_answer(
    html: str, headers: Mapping[str, str], status: int = 200, more: Mapping[str, str] | None = None
) -> Answer:
    """HTML as an answer to a request with `headers`."""
    body, told = html.encode(), {**GUARDS, **(more or {})}
    if len(body) > _WORTH_PACKING and accepts_gzip(headers):
        body, told["content-encoding"] = gzip.compress(body, _EFFORT, mtime=0), "gzip"
    return Answer(body, status, HTML, told)


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    templates.filters |= {"prose": prose, "words": words, "slug": slug, **FILTERS}
    templates.globals["asset"] = asset
    return templates


def prose(text: str) -> Markup:
    """Paragraphs: an empty line begins a new one."""
    return Markup("\n").join(Markup("<p>{}</p>").format(words(part)) for part in text.split("\n\n") if part.strip())


def slug(text: str) -> str:
    """A name as part of an id."""
    return re.sub(r"\W+", "-", text.lower())


def words(text: str) -> Markup:
    """A line in which `backticks` mark code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))
