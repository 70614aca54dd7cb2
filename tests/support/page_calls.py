"""Pages as a browser asks for them, without one: forms sent from them, and what is in their HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from http_calls import Reply, call

_INLINE = {"a", "b", "code", "em", "kbd", "strong", "time"}
_VOID = {"area", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "rect", "line"}


def page(url: str, path: str, status: int = 200, headers: dict[str, str] | None = None) -> str:
    """The HTML of a page."""
    reply = call(url, "GET", path, headers=headers)
    assert reply.status == status, (path, reply.status, reply.body[:500])
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    return reply.body.decode()


def send_form(
    url: str, path: str, fields: dict[str, Any] | None = None, headers: dict[str, str] | None = None,
    origin: str | None = "",
) -> Reply:  # fmt: skip
    """A form sent from a page of the server itself, or of the site `origin`; None: it does not say from where."""
    told = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
    if origin is not None:
        told["origin"] = origin or url
    return call(url, "POST", path, urlencode(fields or {}, doseq=True).encode(), told)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert tag in _VOID or self.open, f"</{tag}> closes nothing"
        if tag not in _VOID:
            opened = self.open.pop()
            assert opened == tag, f"</{tag}> closes <{opened}>"
            if tag not in _INLINE:
                self.words.append(" ")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(html: str) -> tuple[list[tuple[str, dict[str, str | None]]], str]:
    """Every tag with its attributes, and the text with single spaces. The tags must fit into each other."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open, reader.open
    return reader.tags, re.sub(r"\s+", " ", "".join(reader.words))


def text_of(html: str) -> str:
    return read(html)[1]


def links(html: str) -> list[str]:
    return [attributes["href"] or "" for tag, attributes in read(html)[0] if tag == "a" and "href" in attributes]


def polled(html: str) -> str | None:
    """The address that a page asks for changes, None if it asks for none."""
    found = [attributes for tag, attributes in read(html)[0] if attributes.get("id") == "live"]
    return found[0].get("hx-get") if found else None


def assert_nothing_runs(html: str) -> None:
    """Fails if anything but scripts of this server can run: inline scripts, handlers, addresses that are scripts."""
    for tag, attributes in read(html)[0]:
        assert tag not in ("iframe", "object", "embed", "base"), tag
        if tag == "script":
            assert (attributes.get("src") or "").startswith("/app/static/")
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("style", "hx-on"), (tag, name)
            if name in ("href", "src", "action", "hx-get", "hx-post"):
                assert re.match(r"[/?#]|data:image/|http://127\.0\.0\.1|https?://", value or ""), (tag, name, value)
