"""Statements on who works on predictions: each is one's until a time, which that one puts off while it lives."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, select, update

from .predictions import PredictionRecord, record_of
from .prepared import Prepared
from .tables import predictions

_WAITS = Prepared(
    select(predictions.c.id)
    .where(predictions.c.model == bindparam("model"), predictions.c.due_us <= bindparam("now_us"))
    .limit(1)
)


def claim(
    connection: Connection, worker: str, model: str, now_us: int, until_us: int, limit: int
) -> list[PredictionRecord]:
    """The longest waiting predictions of `model` that nobody works on; they are this worker's until `until_us`."""
    pick = (
        select(predictions.c.id)
        .where(predictions.c.model == model, predictions.c.due_us <= now_us)
        .order_by(predictions.c.due_us)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    taken = (
        update(predictions)
        .where(predictions.c.id.in_(select(pick.c.id)))
        .values(worker=worker, due_us=until_us, attempt=predictions.c.attempt + 1)
        .returning(predictions)
    )
    return sorted((record_of(row) for row in connection.execute(taken)), key=lambda record: record.id)


def take(
    connection: Connection, prediction_id: str, worker: str, now_us: int, until_us: int
) -> PredictionRecord | None:
    """One prediction, if nobody works on it; it is this worker's until `until_us`."""
    taken = (
        update(predictions)
        .where(predictions.c.id == prediction_id, predictions.c.due_us <= now_us)
        .values(worker=worker, due_us=until_us, attempt=predictions.c.attempt + 1)
        .returning(predictions)
    )
    row = connection.execute(taken).one_or_none()
    return None if row is None else record_of(row)


def renew(connection: Connection, worker: str, ids: Collection[str], until_us: int) -> None:
    """Of `ids`, those that a worker has stay its own until `until_us`."""
    mine = (predictions.c.worker == worker) & predictions.c.due_us.is_not(None)
    connection.execute(update(predictions).where(predictions.c.id.in_(ids), mine).values(due_us=until_us))


def still_mine(connection: Connection, worker: str, ids: Collection[str]) -> dict[str, int | None]:
    """Of `ids`, those that the worker still has, and when each was asked to be canceled."""
    query = select(predictions.c.id, predictions.c.cancel_us).where(
        predictions.c.id.in_(list(ids)), predictions.c.worker == worker, predictions.c.due_us.is_not(None)
    )
    return {row.id: row.cancel_us for row in connection.execute(query)}


def release(connection: Connection, worker: str | None = None) -> None:
    """A worker leaves what it has to others; without a name all do, which is for a server that is alone to say."""
    whose = predictions.c.worker.is_not(None) if worker is None else predictions.c.worker == worker
    connection.execute(
        update(predictions)
        .where(whose, predictions.c.due_us.is_not(None))
        .values(worker=None, due_us=predictions.c.created_us)
    )


def late(connection: Connection, models: Collection[str], now_us: int, limit: int) -> list[str]:
    """The ids of predictions of `models` that nobody works on and whose deadline has passed."""
    query = (
        select(predictions.c.id)
        .where(predictions.c.model.in_(models), predictions.c.due_us <= now_us, predictions.c.deadline_us <= now_us)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def waiting_models(connection: Connection, models: Collection[str], now_us: int) -> list[str]:
    """Those of `models` that predictions wait for which nobody works on."""
    return [model for model in models if _WAITS.one(connection, {"model": model, "now_us": now_us}) is not None]
