"""Lists of what the server keeps, the newest first: filters, pages, and rows that follow what happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode

from ...exchange import Answer, Exchange
from ..pages import shown
from . import live
from .live import Part

# Rows on a page.
PAGE = 25
# How often a page asks for what is new.
_EVERY = "2s"


class _Kept(Protocol):
    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=_Kept)


@dataclass(frozen=True, slots=True)
class Listing(Generic[R]):
    """The list at `path` of what is found with `filters`, fields of its query. `row` draws a record; the `id` of its
    element is a letter, a dash and the record's.
    """

    section: str
    path: str
    filters: tuple[str, ...]
    row: Callable[[R], Part]

    def page(self, exchange: Exchange, found: Sequence[R], **values: Any) -> Answer:
        """The page of `found`, which has one more than fit if there are older ones. `values` are its template's own."""
        given = {name: exchange.query.get(name, "") for name in self.filters}
        rows = [self.row(record) for record in found[:PAGE]]
        return shown(
            exchange, f"operations/{self.section}.html", section=self.section, path=self.path, rows=rows, given=given,
            filtered=any(given.values()), paged="before" in exchange.query, newest=self._address(given),
            older=self._address({**given, "before": found[PAGE - 1].id}) if len(found) > PAGE else None,
            asking=live.asking(self.path, rows, _EVERY), **values,
        )  # fmt: skip

    async def changes(
        self, exchange: Exchange, has: Mapping[str, str], get: Callable[[str], Awaitable[R | None]]
    ) -> Answer:
        """The rows of a page that are not as it has them; `get` finds a record by its id."""
        found = [await get(part.partition("-")[2]) for part in has]
        rows = [self.row(record) for record in found if record is not None]
        return live.changes(exchange, self.path, rows, has, _EVERY)

    def _address(self, query: Mapping[str, str]) -> str:
        told = {name: value for name, value in query.items() if value}
        return f"{self.path}?{urlencode(told)}" if told else self.path
