"""Bytes by name: in a local folder, or in an object store by its URL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from ...engine.errors import TriptychError


class BlobError(TriptychError):
    """The place where files are kept cannot do what it was asked now."""


# Of this size, in bytes, it takes longer to hand it to a thread than to read it.
_SHORT = 1 << 16


class Blobs:
    """`where` is a folder, which is made, or the URL of an object store: s3://, gs://, az://, memory://.

    What else an object store needs (region, endpoint, credentials) is in its usual variables. Raises BlobError.
    """

    def __init__(self, where: Path | str) -> None:
        self.where = str(where)
        self._folder = where if isinstance(where, Path) else None
        try:
            if isinstance(where, Path):
                where.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store = LocalStore(where) if isinstance(where, Path) else from_url(where)
        except (BaseError, OSError, ValueError) as error:
            raise BlobError(f"files cannot be kept at {where}: {_reason(error)}") from None

    async def put(self, name: str, content: bytes | IO[bytes]) -> None:
        """Write the whole blob or nothing. Raises BlobError."""
        try:
            await obstore.put_async(self._store, name, content)
        except (BaseError, OSError) as error:
            raise BlobError(f"a file could not be stored: {_reason(error)}") from error

    async def get(self, name: str) -> AsyncIterator[bytes]:
        """The blob in parts. Raises BlobError, before the first part if there is no such blob."""
        try:
            found = await obstore.get_async(self._store, name)
        except (BaseError, OSError) as error:
            raise BlobError(f"a stored file cannot be read: {_reason(error)}") from error
        return _parts(found)

    async def read(self, name: str, size: int) -> bytes:
        """The whole blob, of `size` bytes. Raises BlobError."""
        try:
            if not size:
                return b""
            if self._folder is not None:  # a fourth of what it takes through the library
                path = f"{self._folder}/{name}"
                return _read(path) if size < _SHORT else await asyncio.to_thread(_read, path)
            return bytes(await obstore.get_range_async(self._store, name, start=0, length=size))
        except (BaseError, OSError) as error:
            raise BlobError(f"a stored file cannot be read: {_reason(error)}") from error

    async def delete(self, name: str) -> None:
        """Also when there is no such blob (any more). Raises BlobError."""
        try:
            await obstore.delete_async(self._store, name)
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as error:
            raise BlobError(f"a stored file could not be deleted: {_reason(error)}") from error

    async def older_than(self, prefix: str, age: timedelta) -> AsyncIterator[list[str]]:
        """Names of the blobs below `prefix` that were written longer ago than `age`, some at a time."""
        before = datetime.now(UTC) - age
        try:
            async for some in obstore.list(self._store, prefix):
                yield [str(blob["path"]) for blob in some if blob["last_modified"] < before]
        except (BaseError, OSError) as error:
            raise BlobError(f"the stored files cannot be listed: {_reason(error)}") from error


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


async def _parts(found: obstore.GetResult) -> AsyncIterator[bytes]:
    try:
        async for part in found.stream():
            yield bytes(part)
    except (BaseError, OSError) as error:
        raise BlobError(f"a stored file cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first line: what follows is where in the library it was. What is not there has its place in its text, which
    is nobody's business.
    """
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    return str(error).strip().partition("\n")[0] or type(error).__name__
