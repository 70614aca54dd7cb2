"""Statements on batches and their lines. What changes a batch that is worked on names the worker: a lease that was lost
changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from .tables import batch_lines, batches

# What a worker has to do something about.
OPEN = ("validating", "in_progress", "finalizing", "cancelling")
# What may still be cancelled.
CANCELLABLE = ("validating", "in_progress")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """A batch: times in microseconds, `problems` the objects that say what is wrong with its input file."""

    id: str
    owner: str
    endpoint: str
    completion_window: str
    input_file_id: str
    created_us: int
    expires_us: int
    metadata: dict[str, str] = field(default_factory=dict)
    problems: list[dict[str, Any]] = field(default_factory=list)
    status: str = "validating"
    model: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    output_expires_seconds: int | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    in_progress_us: int | None = None
    finalizing_us: int | None = None
    completed_us: int | None = None
    failed_us: int | None = None
    expired_us: int | None = None
    cancelling_us: int | None = None
    cancelled_us: int | None = None
    lease_owner: str | None = None
    lease_us: int | None = None


@dataclass(frozen=True, slots=True)
class LineRecord:
    """A line that is done: its `number` in the input file from 0, and what goes into an output file. `usage` are the
    tokens of its prompt, those of them that were cached, and of its answer.
    """

    number: int
    succeeded: bool
    line: str
    usage: tuple[int, int, int] = (0, 0, 0)


def _record(row: Row[Any]) -> BatchRecord:
    values = dict(row._mapping)
    values["metadata"], values["problems"] = json.loads(values["metadata"]), json.loads(values["problems"])
    return BatchRecord(**values)


def add(connection: Connection, record: BatchRecord) -> None:
    values = {name: getattr(record, name) for name in batches.c.keys()}  # noqa: SIM118 (columns, not a mapping)
    values["metadata"], values["problems"] = json.dumps(record.metadata), json.dumps(record.problems)
    connection.execute(insert(batches).values(values))


def get(connection: Connection, batch_id: str) -> BatchRecord | None:
    row = connection.execute(select(batches).where(batches.c.id == batch_id)).one_or_none()
    return None if row is None else _record(row)


def page(connection: Connection, owner: str, after: str | None, limit: int) -> list[BatchRecord]:
    """Up to `limit` batches of `owner`, the newest first, behind the id `after`."""
    query = select(batches).where(batches.c.owner == owner)
    if after is not None:
        query = query.where(batches.c.id < after)
    return [_record(row) for row in connection.execute(query.order_by(batches.c.id.desc()).limit(limit))]


def cancel(connection: Connection, batch_id: str, now_us: int) -> bool:
    """Ask the worker to stop; whether that was still possible."""
    done = connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.status.in_(CANCELLABLE))
        .values(status="cancelling", cancelling_us=now_us)
    )
    return done.rowcount > 0


# ---- a worker's -----------------------------------------------------------------------------------------------------


def claim(
    connection: Connection, worker: str, now_us: int, until_us: int, under_way: Collection[str] = ()
) -> BatchRecord | None:
    """The oldest open batch that nobody works on; it is this worker's until `until_us`. What it has `under_way` it does
    not take a second time, even where it was too busy to renew the lease.
    """
    free = or_(batches.c.lease_us.is_(None), batches.c.lease_us < now_us)
    pick = (
        select(batches.c.id)
        .where(batches.c.status.in_(OPEN), free, batches.c.id.not_in(under_way))
        .order_by(batches.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    taken = (
        update(batches)
        .where(batches.c.id.in_(select(pick.c.id)))
        .values(lease_owner=worker, lease_us=until_us)
        .returning(batches)
    )
    row = connection.execute(taken).one_or_none()
    return None if row is None else _record(row)


def renew(connection: Connection, batch_id: str, worker: str, until_us: int) -> str | None:
    """Keep a batch; its status, or None when it is another's by now."""
    mine = (batches.c.id == batch_id) & (batches.c.lease_owner == worker)
    row = connection.execute(update(batches).where(mine).values(lease_us=until_us).returning(batches.c.status))
    return row.scalar_one_or_none()


def release_all(connection: Connection) -> None:
    """Nobody works on anything: said by a server that is alone and has just started."""
    leased = batches.c.lease_owner.is_not(None)
    connection.execute(update(batches).where(leased).values(lease_owner=None, lease_us=None))


def release(connection: Connection, worker: str) -> None:
    """A worker that stops leaves its batches to others."""
    mine = batches.c.lease_owner == worker
    connection.execute(update(batches).where(mine).values(lease_owner=None, lease_us=None))


def move(connection: Connection, batch_id: str, worker: str, status: str, old: Sequence[str], **values: Any) -> bool:
    """Change the status from one of `old`, and other columns with it; whether it was so and this worker's."""
    if "problems" in values:
        values["problems"] = json.dumps(values["problems"])
    mine = (batches.c.id == batch_id) & (batches.c.lease_owner == worker) & batches.c.status.in_(old)
    if status not in OPEN:
        values |= {"lease_owner": None, "lease_us": None}
    return connection.execute(update(batches).where(mine).values(status=status, **values)).rowcount > 0


def finish_lines(connection: Connection, batch_id: str, worker: str, lines: Sequence[LineRecord]) -> bool:
    """Keep what `lines` gave and count them; false, and nothing is kept, when the batch is another's by now."""
    succeeded = sum(line.succeeded for line in lines)
    prompt, cached, output = (sum(line.usage[part] for line in lines) for part in range(3))
    counted = connection.execute(
        update(batches)
        .where(batches.c.id == batch_id, batches.c.lease_owner == worker)
        .values(
            completed=batches.c.completed + succeeded,
            failed=batches.c.failed + len(lines) - succeeded,
            input_tokens=batches.c.input_tokens + prompt,
            cached_tokens=batches.c.cached_tokens + cached,
            output_tokens=batches.c.output_tokens + output,
        )
    )
    if not counted.rowcount:
        return False
    rows = [
        {"batch_id": batch_id, "number": each.number, "succeeded": int(each.succeeded), "line": each.line}
        for each in lines
    ]
    connection.execute(insert(batch_lines), rows)
    return True


def done_lines(connection: Connection, batch_id: str) -> set[int]:
    """Numbers of the lines that are done."""
    return set(connection.scalars(select(batch_lines.c.number).where(batch_lines.c.batch_id == batch_id)))


def output_lines(
    connection: Connection, batch_id: str, succeeded: bool, after: int, limit: int
) -> list[tuple[int, str]]:
    """Up to `limit` (number, line) behind the number `after`, in order, of those that succeeded or did not."""
    query = (
        select(batch_lines.c.number, batch_lines.c.line)
        .where(batch_lines.c.batch_id == batch_id, batch_lines.c.succeeded == int(succeeded))
        .where(batch_lines.c.number > after)
        .order_by(batch_lines.c.number)
        .limit(limit)
    )
    return [(row.number, row.line) for row in connection.execute(query)]


def end(connection: Connection, batch_id: str, worker: str, status: str, values: dict[str, Any]) -> bool:
    """The files are written: the last status, and the lines are not needed any more; whether it was this worker's."""
    if not move(connection, batch_id, worker, status, ("finalizing", "cancelling"), **values):
        return False
    connection.execute(delete(batch_lines).where(batch_lines.c.batch_id == batch_id))
    return True
