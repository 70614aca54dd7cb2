"""Reads newer price lists now and then, in a thread of its own: a list that is away, slow or hostile harms nobody.

What was tried is kept in a file beside the records, so that of several servers of one folder, and after a restart,
each knows when a list is due.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from datetime import time as Time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ..catalogue.answers import FailedRefresh
from ..catalogue.load import load, record_folder, today
from ..catalogue.names import KNOWN_LISTS
from ..catalogue.refresh import refresh
from .store.lock import FolderLock, FolderTakenError

log = logging.getLogger("triptych.server")

# Seconds after the start until the first look: a server that restarts again and again asks nobody.
_FIRST = (30.0, 120.0)
# The longest pause: by then another process may have read a list.
_LOOK_EVERY = 3600.0
_SOON = 60.0
# After a failure, doubled with each further one, and no longer than a day.
_AGAIN = 900.0
_LONGEST = 86_400.0
_JITTER = 0.25
_LONGEST_REASON = 500
_STATE = ".refresh.json"


class Tried(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a list was read last and tried last, in seconds since 1970 (0: never), and after `failures` in a row why
    that failed.
    """

    read: float = 0.0
    tried: float = 0.0
    failures: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: a list is read again after `every`. After a failure it is tried again after `again`, doubled each time
    up to `longest`; every pause is up to a quarter shorter or longer. The first look comes within `first`.
    """

    every: float
    first: tuple[float, float] = _FIRST
    again: float = _AGAIN
    longest: float = _LONGEST

    def due(self, tried: Tried, now: float) -> float:
        """When a list is to be read next. What is in the future was written by a clock that was wrong."""
        read = tried.read if tried.read <= now else 0.0
        if not tried.failures or tried.tried > now:
            return read + self.every
        return max(read + self.every, tried.tried + min(self.longest, self.again * 2 ** min(tried.failures - 1, 30)))


class CatalogueRefresh:
    """Keeps the records in the folder `data` fresh from `lists`: names, addresses or files that the operator chose."""

    def __init__(self, data: Path, lists: Sequence[str], pace: Pace) -> None:
        self._data = data
        self._lists = tuple(lists)
        self._pace = pace
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: tuple[FailedRefresh, ...] = ()

    @property
    def failed(self) -> tuple[FailedRefresh, ...]:
        """The lists that could not be read when they were last tried."""
        return self._failed

    async def start(self) -> None:
        # A daemon: a download that hangs must not keep the server from ending, and what is not recorded yet is nothing.
        self._thread = threading.Thread(target=self._work, name="price lists", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 0.5)

    def _work(self) -> None:
        pause = random.uniform(*self._pace.first)
        while not self._ended.wait(pause):
            pause = self.look()

    def look(self) -> float:
        """Read what is due; the seconds until the next look. Failures are logged and kept, never raised."""
        try:
            tried = _kept(self._data, self._lists)
            if self._due(tried):
                tried = self._refresh()
        except FolderTakenError:
            return _spread(_SOON)
        except OSError as error:
            log.warning("price lists are not refreshed, %s: %s", record_folder(self._data), error.strerror)
            return _spread(_LOOK_EVERY)
        self._failed = tuple(_failure(place, each) for place, each in tried.items() if each.failures)
        now = time.time()
        wait = min((self._pace.due(each, now) for each in tried.values()), default=now + _LOOK_EVERY) - now
        return _spread(min(max(wait, _SOON), _LOOK_EVERY))

    def _due(self, tried: Mapping[str, Tried]) -> list[str]:
        now = time.time()
        return [place for place, each in tried.items() if self._pace.due(each, now) <= now]

    def _refresh(self) -> dict[str, Tried]:
        """As the only process that does so. Raises FolderTakenError, OSError."""
        folder = record_folder(self._data)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder)
        try:
            tried = _with_others(_kept(self._data, self._lists), self._data)
            for place in self._due(tried):
                if not self._ended.is_set():
                    tried[place] = self._read(place, tried[place])
            _keep(self._data, tried)
            return tried
        finally:
            lock.release()

    def _read(self, place: str, before: Tried) -> Tried:
        try:
            done = refresh(place, self._data, today())
        except Exception as error:  # whatever a list does to us, the next try is made
            why = str(error).removeprefix(f"{place}: ")[:_LONGEST_REASON] or type(error).__name__
            log.warning("the price list %s could not be read: %s", _shown(place), why)
            return Tried(before.read, time.time(), before.failures + 1, why)
        if done.record is not None:
            log.info("the price list %s has %d prices of models we know", _shown(place), done.prices)
        return Tried(time.time(), time.time())


def _kept(data: Path, lists: Sequence[str]) -> dict[str, Tried]:
    """What is known of each list; of those that nothing is known of, that they were never tried. Raises OSError."""
    found: dict[str, Tried] = {}
    with suppress(FileNotFoundError, msgspec.DecodeError):
        found = msgspec.json.decode((record_folder(data) / _STATE).read_bytes(), type=dict[str, Tried])
    return {place: found.get(place, Tried()) for place in lists}


def _keep(data: Path, tried: Mapping[str, Tried]) -> None:
    part = record_folder(data) / f"{_STATE}.part"
    part.write_bytes(msgspec.json.encode(tried))
    os.replace(part, record_folder(data) / _STATE)


def _with_others(tried: Mapping[str, Tried], data: Path) -> dict[str, Tried]:
    """With what was read since by `triptych prices refresh`, by the day."""
    read: dict[str | None, float] = {}
    for source in load(data).sources.values():
        if source.kind == "list":
            moment = datetime.combine(source.seen, Time(), UTC).timestamp()
            read[source.url] = max(moment, read.get(source.url, 0.0))
    by_hand = {place: read.get(KNOWN_LISTS.get(place, place), 0.0) for place in tried}
    return {place: Tried(by_hand[place]) if by_hand[place] > max(each.read, each.tried) else each
            for place, each in tried.items()}  # fmt: skip


def _failure(place: str, tried: Tried) -> FailedRefresh:
    return FailedRefresh(_shown(place), datetime.fromtimestamp(tried.tried, UTC), tried.why)


def _shown(place: str) -> str:
    """A list for everybody's eyes: no query of an address, which may hold a key, and no folder of this machine."""
    if place in KNOWN_LISTS:
        return place
    parts = urlsplit(place)
    return f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.scheme in ("http", "https") else Path(place).name


def _spread(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)
