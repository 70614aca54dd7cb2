"""What a page is made of, read strictly."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from html.parser import HTMLParser

_VOID = {"meta", "link", "path", "br", "input", "img", "rect", "line"}
_TEXTS = ("style", "script", "h1", "h2", "h3", "title", "pre", "dt", "dd", "th", "td", "li", "summary")


class Page(HTMLParser):
    """Fails for elements that are not closed. `links` are addresses of links, `loads` what the page loads, `parts` the
    texts of some elements, `facts` what stands beside each name in lists of facts.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.copies: list[str] = []
        self.parts: dict[str, list[str]] = {name: [] for name in _TEXTS}
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.facts: defaultdict[str, str] = defaultdict(str)
        self._texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    @property
    def text(self) -> str:
        """All that can be read, with single spaces."""
        return plain(" ".join(self._texts))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.attributes.append((tag, found))
        self.ids.update([found["id"]] if "id" in found else [])
        self.links += [found["href"]] if tag == "a" else []
        self.loads += [found[name] for name in ("src", "href") if tag in ("link", "script", "img") and name in found]
        self.copies += [found["data-copy"]] if "data-copy" in found else []
        if tag not in _VOID:
            self._open.append(tag)
        if tag in self.parts:
            self.parts[tag].append("")

    def handle_endtag(self, tag):
        if tag in _VOID:
            return
        assert self._open.pop() == tag
        if tag == "dd":
            self.facts[self.parts["dt"][-1].strip()] += " " + plain(self.parts["dd"][-1])

    def handle_data(self, data):
        for tag in set(self._open) & set(self.parts):
            self.parts[tag][-1] += data
        if not {"style", "script", "title"} & set(self._open):
            self._texts.append(data)


def plain(text: str) -> str:
    """With single spaces."""
    return re.sub(r"\s+", " ", text).strip()
