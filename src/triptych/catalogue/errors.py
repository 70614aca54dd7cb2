"""What can go wrong with the catalogue, in one line that names the place and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ..engine.errors import TriptychError


class CatalogueError(TriptychError):
    """Root of this package's errors."""


class DataError(CatalogueError):
    """A data file is wrong; the message has the file, the line or the key, and why."""


class UnknownNameError(CatalogueError):
    """No model, provider or route of this name; `kind` says of which. The message suggests one of the `known`, or of
    their `other` names.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], other: Iterable[str] = ()) -> None:
        names = sorted(set(known))
        near = _near(name, sorted({*names, *other}))
        there = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
        super().__init__(f"the catalogue has no {kind} {name[:80]!r}; {there}")
        self.kind = kind
        self.name = name


class WorkloadError(CatalogueError):
    """A workload that cannot be read, or that the model cannot do; `field` says which part."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class RefreshError(CatalogueError):
    """A price list could not be read or believed; nothing was recorded."""


def _near(word: str, names: list[str]) -> list[str]:
    lowered = {name.lower(): name for name in reversed(names)}
    found = difflib.get_close_matches(word.lower(), lowered, 2, 0.55)
    found = found or [name for name in lowered if len(word) > 2 and word.lower() in name][:2]
    return [lowered[name] for name in found]
