"""The sources that a page names: a short link for each place, and the whole list below."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from ....catalogue.answers import SourceAnswer
from ..pages import slug
from .words import cited, dated


class Sources:
    """Each source once, in the order of the catalogue."""

    def __init__(self, answers: Iterable[SourceAnswer]) -> None:
        self.all = list({each.id: each for each in answers}.values())
        # Written once: a page names some of them a hundred times.
        self._links = {each.id: _link(each) for each in self.all}

    def link(self, id: str | None) -> Markup:
        """Who says it and when, with the whole of it in the title; nothing for a source that is not listed."""
        return self._links.get(id or "", Markup())


def _link(source: SourceAnswer) -> Markup:
    return Markup('<a class="src" href="#source-{}" title="{}">{}</a>').format(
        slug(source.id), cited(source), dated(source)
    )
