"""Statements on the table of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from .prepared import Prepared
from .tables import files


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A stored file: `size` in bytes, times in microseconds; without `expires_us` it stays until it is deleted.
    `details` are what its dialect keeps of it beside.
    """

    id: str
    owner: str
    purpose: str
    filename: str
    content_type: str
    size: int
    sha256: str
    created_us: int
    expires_us: int | None = None
    details: dict[str, Any] = field(default_factory=dict)


# As rows come from the database, and as fields are in a record.
_NAMES = tuple(files.c.keys())
_ADD = Prepared(insert(files), _NAMES)
_GET = Prepared(select(files).where(files.c.id == bindparam("wanted")))
_EXTEND = Prepared(
    update(files)
    .where(files.c.id == bindparam("wanted"), files.c.expires_us < bindparam("until_us"))
    .values(expires_us=bindparam("until_us"))
)


def _record(row: Sequence[Any]) -> FileRecord:
    values = [*row]  # in the order of the fields
    values[-1] = msgspec.json.decode(values[-1])
    return FileRecord(*values)


def add(connection: Connection, record: FileRecord) -> None:
    values = {name: getattr(record, name) for name in _NAMES}
    _ADD.run(connection, values | {"details": msgspec.json.encode(record.details).decode()})


def get(connection: Connection, file_id: str, now_us: int) -> FileRecord | None:
    """The file, unless it has expired."""
    row = _GET.one(connection, {"wanted": file_id})
    found = _record(row) if row is not None else None
    return None if found is None or (found.expires_us is not None and found.expires_us <= now_us) else found


def page(
    connection: Connection,
    owner: str,
    now_us: int,
    *,
    purposes: Sequence[str] = (),
    after: str | None = None,
    newest_first: bool = True,
    limit: int = 100,
) -> list[FileRecord]:
    """Up to `limit` files of `owner` behind the id `after`."""
    alive = files.c.expires_us.is_(None) | (files.c.expires_us > now_us)
    query = select(files).where(files.c.owner == owner, alive)
    if purposes:
        query = query.where(files.c.purpose.in_(purposes))
    if after is not None:
        query = query.where(files.c.id < after if newest_first else files.c.id > after)
    query = query.order_by(files.c.id.desc() if newest_first else files.c.id).limit(limit)
    return [_record(row) for row in connection.execute(query)]


def extend(connection: Connection, file_id: str, expires_us: int) -> None:
    """A file that has not expired stays until `expires_us` at least."""
    _EXTEND.run(connection, {"wanted": file_id, "until_us": expires_us})


def remove(connection: Connection, file_id: str) -> bool:
    """Whether there was such a file."""
    return connection.execute(delete(files).where(files.c.id == file_id)).rowcount > 0


def expired(connection: Connection, now_us: int, limit: int) -> list[str]:
    """Ids of files whose time is over."""
    query = select(files.c.id).where(files.c.expires_us <= now_us).order_by(files.c.expires_us).limit(limit)
    return list(connection.scalars(query))


def known(connection: Connection, ids: list[str]) -> set[str]:
    """Those of `ids` that are files."""
    return set(connection.scalars(select(files.c.id).where(files.c.id.in_(ids))))
