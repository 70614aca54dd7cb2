"""Files that callers gave or get: bytes in the blobs, everything else about them in the store."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from functools import partial
from typing import IO, Any

from ..store import files as statements
from ..store.files import FileRecord
from ..store.ids import new_id, now_us
from ..store.store import Store, StoreError
from .blobs import BlobError, Blobs

log = logging.getLogger("triptych.server")

# A bucket may hold other things than ours.
_PREFIX = "triptych-files/"
_SWEEP_EVERY = 60.0
_SWEEP_SOME = 500
# A blob without a row is an upload under way, or what is left of one that was broken off.
_ORPHAN_AGE = timedelta(hours=6)
_HASH_PART = 1 << 20
# Of this size, in bytes, it takes longer to hand it to a thread than to hash it.
_SHORT = 1 << 16


class FileLibrary:
    """All files. Each belongs to an owner, and only its owner sees it."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs
        self._sweeper: asyncio.Task[None] | None = None

    async def add(
        self,
        owner: str,
        purpose: str,
        filename: str,
        content_type: str,
        content: bytes | IO[bytes],
        lasts: float | None = None,
        file_id: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> FileRecord:
        """Keep `content`, for `lasts` seconds if given, under a new id or `file_id`. Raises BlobError, StoreError; then
        nothing is kept.
        """
        stream = io.BytesIO(content) if isinstance(content, bytes) else content
        short = isinstance(content, bytes) and len(content) < _SHORT
        size, sha256 = _measure(stream) if short else await asyncio.to_thread(_measure, stream)
        file_id, now = file_id or new_id(), now_us()
        expires = None if lasts is None else now + round(lasts * 1e6)
        record = FileRecord(file_id, owner, purpose, filename, content_type, size, sha256, now, expires, details or {})
        await self._blobs.put(_PREFIX + file_id, content)
        try:
            await self._store.write(partial(statements.add, record=record))
        except StoreError:
            await self._blobs.delete(_PREFIX + file_id)
            raise
        return record

    async def get(self, owner: str | None, file_id: str) -> FileRecord | None:
        """The file, if there is one and it is the owner's (None: whoever's)."""
        record = await self._store.read(partial(statements.get, file_id=file_id, now_us=now_us()))
        return record if record is not None and owner in (None, record.owner) else None

    async def page(
        self, owner: str, purposes: Sequence[str], after: str | None, newest_first: bool, limit: int
    ) -> list[FileRecord]:
        """Up to `limit` files for any of `purposes` (none: for all) behind the id `after`."""
        work = partial(
            statements.page, owner=owner, now_us=now_us(), purposes=purposes, after=after, newest_first=newest_first,
            limit=limit,
        )  # fmt: skip
        return await self._store.read(work)

    async def content(self, record: FileRecord) -> AsyncIterator[bytes]:
        """The file's bytes in parts. Raises BlobError."""
        return await self._blobs.get(_PREFIX + record.id)

    async def read(self, record: FileRecord) -> bytes:
        """All of the file's bytes. Raises BlobError."""
        return await self._blobs.read(_PREFIX + record.id, record.size)

    async def extend(self, record: FileRecord, lasts: float) -> None:
        """Keep a file that expires for `lasts` seconds more from now on, at least. It is a hundredth more, so that of a
        file that is used often not every use has to be written down.
        """
        least = now_us() + round(lasts * 1e6)
        if record.expires_us is not None and record.expires_us < least:
            until = least + round(lasts * 1e4)
            await self._store.write(partial(statements.extend, file_id=record.id, expires_us=until))

    async def delete(self, record: FileRecord) -> None:
        """The bytes first: a row without bytes is found again, bytes without a row would stay."""
        await self._blobs.delete(_PREFIX + record.id)
        await self._store.write(partial(statements.remove, file_id=record.id))

    # ---- what time does ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to delete what has expired."""
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait((self._sweeper,))

    async def _sweep(self) -> None:
        first = True
        while True:
            try:
                await self.purge()
                if first:
                    await self.purge_orphans(_ORPHAN_AGE)
                first = False
            except (BlobError, StoreError) as error:
                log.error("expired files could not be deleted: %s", error)
            await asyncio.sleep(_SWEEP_EVERY)

    async def purge(self) -> int:
        """Delete the files whose time is over; how many there were."""
        count = 0
        while ids := await self._store.read(partial(statements.expired, now_us=now_us(), limit=_SWEEP_SOME)):
            for file_id in ids:
                await self._blobs.delete(_PREFIX + file_id)
                await self._store.write(partial(statements.remove, file_id=file_id))
            count += len(ids)
        return count

    async def purge_orphans(self, age: timedelta) -> int:
        """Delete bytes that no file has, of uploads that were broken off longer than `age` ago; how many there were."""
        count = 0
        async for names in self._blobs.older_than(_PREFIX, age):
            ids = {name.removeprefix(_PREFIX) for name in names}
            for file_id in ids - await self._store.scan(partial(statements.known, ids=sorted(ids))):
                await self._blobs.delete(_PREFIX + file_id)
                count += 1
        return count


def _measure(stream: IO[bytes]) -> tuple[int, str]:
    """Size and SHA-256 of a stream, which is put back to its beginning."""
    stream.seek(0)
    hashed, size = hashlib.sha256(), 0
    while part := stream.read(_HASH_PART):
        hashed.update(part)
        size += len(part)
    stream.seek(0)
    return size, hashed.hexdigest()
