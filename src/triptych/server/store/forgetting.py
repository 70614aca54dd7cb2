"""Statements on what time does to predictions: their data are removed, their files go, in the end all of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, select, update

from .predictions import INPUT_FILE
from .tables import files, prediction_files, predictions, webhooks
from .webhooks import forget_ended


def remove_data(connection: Connection, before_us: int, now_us: int, limit: int) -> int:
    """Forget input, output and logs of predictions that ended before `before_us`, up to `limit`, with the files that
    were only their inputs; how many predictions. Messages that tell of them go once they wait no more.
    """
    old = predictions.c.removed_us.is_(None) & (predictions.c.completed_us < before_us)
    ids = list(connection.scalars(select(predictions.c.id).where(old).limit(limit)))
    if not ids:
        return 0
    connection.execute(
        update(predictions)
        .where(predictions.c.id.in_(ids))
        .values(input="{}", generation="", output="[]", logs="", removed_us=now_us)
    )
    forget_ended(connection, webhooks.c.prediction_id.in_(ids))
    _let_go_of_files(connection, ids, now_us)
    return len(ids)


def purge(connection: Connection, owner: str | None, before_us: int, now_us: int, limit: int) -> int:
    """Delete predictions of `owner` (None: of all) that ended before `before_us`, with all that was told of them, up to
    `limit`; how many. Those of which something is still to be told stay.
    """
    telling = select(webhooks.c.id).where(
        webhooks.c.prediction_id == predictions.c.id, webhooks.c.state == "waiting"
    )
    old = select(predictions.c.id).where(predictions.c.completed_us < before_us, ~telling.exists())
    if owner is not None:
        old = old.where(predictions.c.owner == owner)
    ids = list(connection.scalars(old.limit(limit)))
    if not ids:
        return 0
    _let_go_of_files(connection, ids, now_us)
    connection.execute(delete(predictions).where(predictions.c.id.in_(ids)))
    return len(ids)


def _let_go_of_files(connection: Connection, ids: Sequence[str], now_us: int) -> None:
    """Files that were the inputs of these predictions alone expire now. Their library deletes what has expired, so that
    a crash in between leaves none behind.
    """
    read = prediction_files.c.prediction_id.in_(ids)
    found = set(connection.scalars(select(prediction_files.c.file_id).where(read)))
    if not found:
        return
    connection.execute(delete(prediction_files).where(read))
    others = select(prediction_files.c.file_id).where(prediction_files.c.file_id.in_(found))
    expire_inputs(connection, found - set(connection.scalars(others)), now_us)


def expire_inputs(connection: Connection, ids: Collection[str], now_us: int) -> None:
    """Those of some files that were given as inputs expire now."""
    inputs = files.c.id.in_(ids) & (files.c.purpose == INPUT_FILE)
    lasting = files.c.expires_us.is_(None) | (files.c.expires_us > now_us)
    connection.execute(update(files).where(inputs, lasting).values(expires_us=now_us))


def unread_inputs(connection: Connection, before_us: int) -> list[str]:
    """Files given as inputs before `before_us` that no prediction reads: it never came about, or was there already. It
    looks at all files.
    """
    reader = select(prediction_files.c.file_id).where(prediction_files.c.file_id == files.c.id)
    query = select(files.c.id).where(
        files.c.purpose == INPUT_FILE, files.c.created_us < before_us, files.c.expires_us.is_(None), ~reader.exists()
    )
    return list(connection.scalars(query))
