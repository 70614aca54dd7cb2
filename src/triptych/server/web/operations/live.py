"""Parts of a page that change while it is looked at: it asks now and then, and gets those that are not as it has them.

A page says with `seen` which parts it has, each with a hash of its HTML; what is still the same is never drawn again,
so nothing flickers and a selection of text stays. Once nothing can change any more it asks no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from ...exchange import Answer, Exchange
from ..pages import GUARDS, HTML, html_answer, render

_SEEN = re.compile(r"([A-Za-z0-9-]{1,80})\.([0-9a-f]{8})")
# A page shows no more parts that change; what names more was not made by one.
_MOST = 200


@dataclass(frozen=True, slots=True)
class Part:
    """An element with this `id`; its whole HTML. `changing`: it may look different soon."""

    id: str
    html: Markup
    changing: bool = True

    @classmethod
    def of(cls, id: str, template: str, changing: bool, values: Mapping[str, Any]) -> Part:
        """What `template` makes, whose outermost element takes its `id`."""
        return cls(id, Markup(render(template, id=id, **values)), changing)

    @property
    def seen(self) -> str:
        return f"{self.id}.{blake2b(self.html.encode(), digest_size=4).hexdigest()}"

    @property
    def elsewhere(self) -> Markup:
        """The element as htmx puts it in the place of the one with its id, wherever that is."""
        mark = f' id="{self.id}"'
        return Markup(str(self.html).replace(mark, f'{mark} hx-swap-oob="true"', 1))


def asked(exchange: Exchange) -> dict[str, str] | None:
    """What the page has by the ids of its parts, if it asks for changes. What is not of this form is left out."""
    text = exchange.query.get("seen")
    if text is None:
        return None
    found = (_SEEN.fullmatch(each) for each in text.split("~", _MOST)[:_MOST])
    return {match[1]: match[0] for match in found if match is not None}


def asking(path: str, parts: Iterable[Part], every: str) -> Markup:
    """The element that asks `path` for changes, `every` so often; one that asks for nothing if nothing can change."""
    seen = "~".join(part.seen for part in parts if part.changing)
    url = f"{path}?{urlencode({'seen': seen})}" if seen else ""
    return Markup(render("operations/live.html", url=url, every=every))


def changes(
    exchange: Exchange, path: str, parts: Sequence[Part], has: Mapping[str, str], every: str
) -> Answer:
    """The parts that are not as the page has them, and what asks again; no content if there is nothing new."""
    new = [part for part in parts if has.get(part.id) != part.seen]
    if has and not new and all(part.changing for part in parts) and len(parts) == len(has):
        return Answer(b"", 204, HTML, dict(GUARDS))
    moved = Markup("").join(Markup("<template>{}</template>").format(part.elsewhere) for part in new)
    return html_answer(asking(path, parts, every) + moved, exchange.headers)
