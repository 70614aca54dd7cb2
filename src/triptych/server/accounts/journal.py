"""Usage on its way to the database: in files of the data folder, so that what was used is neither lost when the server
dies nor when the database is away.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ..store.usage import UsageRecord

log = logging.getLogger("triptych.server")

_SUFFIX = ".jsonl"


class Journal:
    """The files of one `server` in `folder`. A row is in the file when `write` returns: killing the process loses
    nothing. The file is locked for as long as the server lives, so that another knows whether it may take it over.
    """

    def __init__(self, folder: Path, server: str) -> None:
        self._folder = folder
        self._server = server
        self._part = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._file = self._open()
        self._full: list[tuple[Path, int]] = []

    def _open(self) -> tuple[Path, int]:
        self._part += 1
        path = self._folder / f"{self._server}.{self._part}{_SUFFIX}"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path, file

    def write(self, record: UsageRecord) -> None:
        """Raises OSError, for a full disk."""
        os.write(self._file, msgspec.json.encode(record) + b"\n")

    def turn(self) -> None:
        """What comes now goes to a new file; the ones before are dropped by `drop`."""
        opened = self._open()
        self._full.append((self._path, self._file))
        self._path, self._file = opened

    def drop(self) -> None:
        """What was written before the last `turn` is in the database."""
        for path, file in self._full:
            path.unlink(missing_ok=True)
            os.close(file)
        self._full = []

    def close(self, keep: bool) -> None:
        """`keep` the files if there is something in them that is not in the database."""
        for path, file in [*self._full, (self._path, self._file)]:
            if not keep:
                path.unlink(missing_ok=True)
            os.close(file)


def left_behind(folder: Path) -> Iterator[tuple[str, list[UsageRecord], Path]]:
    """(server, rows, file) for every file whose server is dead. Delete the file when its rows are kept.

    While it is looked at it is locked, so that no other server takes it as well.
    """
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                yield path.name.partition(".")[0], _rows(path, file.read()), path


def _rows(path: Path, text: bytes) -> list[UsageRecord]:
    """A last line that the disk had no room for is left out: its request was answered with an error."""
    rows = []
    for line in text.splitlines():
        try:
            rows.append(msgspec.json.decode(line, type=UsageRecord))
        except msgspec.DecodeError:
            log.warning("%s has a line that is no row of usage; it is left out", path)
    return rows
