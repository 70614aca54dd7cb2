"""The catalogue from its files: those of the package, and what refreshes and measurements left in a data folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from datetime import date as Day
from functools import lru_cache
from pathlib import Path

from .catalogue import Catalogue, Gathering
from .errors import DataError
from .files import Contents, read_file

PACKAGED = Path(__file__).parent / "data"
# More of them, or larger ones, are no work of ours.
_MOST_FILES = 2_000
_MOST_BYTES = 4 << 20


def today() -> Day:
    """In UTC, as all dates here."""
    return datetime.now(UTC).date()


def load(data: Path | None = None, on: Day | None = None, also: Iterable[Contents] = ()) -> Catalogue:
    """The catalogue with what is recorded in the data folder `data`, and with `also`. A recorded file that is wrong is
    left out, and `problems` says so; raises DataError if a packaged one or `also` is.
    """
    on = on or today()
    gathering = Gathering()
    gathering.add_package(_packaged())
    for path in recorded(data) if data else ():
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise DataError(f"{path}: over {_MOST_BYTES} bytes; no record is that large")
            gathering.add(read_file(path, on))
        except (DataError, OSError) as error:
            gathering.problems.append(f"left out: {error}")
    for contents in also:
        gathering.add(contents)
    return gathering.catalogue()


def load_from(files: Iterable[Path], on: Day | None = None) -> Catalogue:
    """A catalogue of these files alone, checked as the packaged ones. Raises DataError."""
    gathering = Gathering()
    gathering.add_package([read_file(path, on or today()) for path in files])
    return gathering.catalogue()


@lru_cache(maxsize=1)
def _packaged() -> tuple[Contents, ...]:
    """Whatever the clock says: one that is behind makes no packaged file wrong."""
    return tuple(read_file(path, Day.max) for path in sorted(PACKAGED.rglob("*.toml")))


def record_folder(data: Path) -> Path:
    """Where records are in a data folder."""
    return data / "catalogue"


def recorded(data: Path) -> list[Path]:
    """The records in a data folder, oldest first: their names begin with their dates."""
    folder = record_folder(data)
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json") and not name.startswith("."))
    except OSError:
        return []
    return [folder / name for name in names[-_MOST_FILES:]]


def state(data: Path | None) -> tuple[object, ...]:
    """Changes when a record is added."""
    return tuple(path.name for path in recorded(data)) if data else ()
