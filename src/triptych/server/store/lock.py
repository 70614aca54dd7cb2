"""A folder in the hands of one server."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ...engine.errors import TriptychError


class FolderTakenError(TriptychError):
    """Another server works in the folder."""


class FolderLock:
    """Holds `folder` until `release`, or until the process ends, however it does. Raises FolderTakenError, OSError."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            by = f" (process {holder})" if holder else ""
            raise FolderTakenError(
                f"another server{by} uses the data folder {folder}; stop it, or give this one its own with --data"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
