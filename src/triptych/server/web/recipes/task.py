"""A recipe: a program for a task, in one language, with what is to be known of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .call import Dialect, Language, Written


@dataclass(frozen=True, slots=True)
class Recipe:
    """A program to copy. `needs` are the lines of a shell that come first, "" if none; in `note` `backticks` mark code.
    `id` is unique on a page.
    """

    id: str
    title: str
    dialect: Dialect
    language: Language
    code: str
    note: str
    needs: str

    @classmethod
    def of(cls, title: str, dialect: Dialect, language: Language, written: Written, note: str = "") -> Recipe:
        """`note` goes before that of `written`."""
        id = f"recipe-{dialect}-{re.sub(r'[^a-z0-9]+', '-', title.lower())}-{language}"
        notes = " ".join(each for each in (note, written.note) if each)
        return cls(id, title, dialect, language, written.code, notes, written.needs)
