"""What refreshes and measurements leave in the data folder: one file each, written once and never changed."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from datetime import date as Day
from pathlib import Path

import msgspec

from .errors import CatalogueError
from .load import record_folder
from .rows import DataFile


def write_record(data: Path, day: Day, kind: str, contents: DataFile) -> Path | None:
    """Keep `contents` as a record of this day; None if the very same is there already. Raises CatalogueError if it
    cannot be written; then nothing is.
    """
    body = msgspec.json.format(msgspec.json.encode(contents), indent=1) + b"\n"
    folder = record_folder(data)
    target = folder / f"{day.isoformat()}-{kind}-{hashlib.sha256(body).hexdigest()[:12]}.json"
    if target.exists():
        return None
    part = folder / f".{target.name}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        # A link rather than a rename: it fails where a file is already, so that none is ever written over.
        os.link(part, target)
    except FileExistsError:
        return None
    except OSError as error:
        raise CatalogueError(f"{target}: cannot be written ({error.strerror})") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return target
