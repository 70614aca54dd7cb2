"""Lists in pages, by cursors that say nothing to callers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from .errors import ProblemError


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list that is ordered by id, the newest first: what is `below` an id, or `above` one."""

    below: str | None = None
    above: str | None = None

    @classmethod
    def read(cls, text: str | None) -> Cursor:
        """What `written` made; without a text the beginning. Raises ValueError."""
        if not text:
            return cls()
        try:
            way, _, place = base64.urlsafe_b64decode(text.encode()).decode("ascii").partition(":")
        except (binascii.Error, UnicodeError) as error:
            raise ValueError(str(error)) from None
        if way not in ("below", "above") or not (place.isalnum() and len(place) < 64):
            raise ValueError("it is none of ours")
        return cls(**{way: place})

    def written(self) -> str:
        text = f"below:{self.below}" if self.below is not None else f"above:{self.above}"
        return base64.urlsafe_b64encode(text.encode()).decode()


def paged(
    rows: Sequence[Any], limit: int, at: Cursor, url: str, query: Mapping[str, str]
) -> tuple[list[Any], str | None, str | None]:
    """Of `limit` + 1 rows that were asked for at a cursor: the page, and the URLs of the next and the previous one.
    Both repeat `query`.
    """
    more = len(rows) > limit
    shown = list(rows[1:] if more and at.above else rows[:limit])
    older = more if at.above is None else True
    newer = more if at.above is not None else at.below is not None

    def link(cursor: Cursor) -> str:
        return f"{url}?{urlencode({**query, 'cursor': cursor.written()})}"

    following = link(Cursor(below=shown[-1].id)) if older and shown else None
    previous = link(Cursor(above=shown[0].id)) if newer and shown else None
    return shown, following, previous


def cursor_of(text: str | None) -> Cursor:
    """The cursor of a query. Raises ProblemError."""
    try:
        return Cursor.read(text)
    except ValueError:
        raise ProblemError(400, "Invalid cursor: take it from next or previous of a page.") from None
