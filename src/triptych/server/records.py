"""What a server keeps when it stops: its database and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .files.blobs import Blobs
from .files.library import FileLibrary
from .store.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Records:
    """Open from `open_records` until `close`. `folder` is for what waits to be stored."""

    store: Store
    files: FileLibrary
    folder: Path

    async def close(self) -> None:
        await self.files.stop()
        await self.store.close()


async def open_records(data: Path, database: str | None = None, storage: str | None = None) -> Records:
    """The database at the PostgreSQL URL `database`, and the files in the object store at the URL `storage`; without
    either, in the folder `data`, which then belongs to one server. Raises StoreError, FolderTakenError, BlobError.
    """
    store = await open_store(data, database)
    try:
        return Records(store, FileLibrary(store, Blobs(data / "files" if storage is None else storage)), data)
    except BaseException:
        await store.close()
        raise
