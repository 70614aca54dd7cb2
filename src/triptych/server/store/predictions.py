"""Statements on predictions. States change by compare-and-set: what a worker changes names it and its attempt, and a
prediction that has ended never changes but for the removal of its data.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ...engine.request import Usage
from .tables import prediction_files, predictions
from .webhooks import WebhookRecord, add_all

ENDED = ("succeeded", "failed", "canceled")
# The purpose of files that were given as the input of a prediction and for nothing else.
INPUT_FILE = "prediction_input"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRecord:
    """A prediction. Times are in microseconds. `model` is the served name that runs it; `shown` is what its dialect
    shows of it beside, `input` what the caller sent; `generation` is what is run, as JSON. `output` only ever grows.
    `error_code` says in a word what kind of failure `error` is, for dialects that have codes of their own.
    """

    id: str
    owner: str
    dialect: str
    model: str
    generation: str
    created_us: int
    stream_token: str
    shown: dict[str, Any] = field(default_factory=dict)
    input: dict[str, Any] = field(default_factory=dict)
    status: str = "starting"
    output: tuple[str, ...] = ()
    error: str | None = None
    error_code: str | None = None
    logs: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    image_tokens: int = 0
    completion_tokens: int = 0
    started_us: int | None = None
    first_token_us: int | None = None
    completed_us: int | None = None
    deadline_us: int | None = None
    cancel_us: int | None = None
    removed_us: int | None = None
    webhook: str | None = None
    webhook_events: tuple[str, ...] = ()
    idempotency_key: str | None = None
    worker: str | None = None
    attempt: int = 0
    due_us: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.cached_tokens, self.image_tokens, self.completion_tokens)


_JSON = ("shown", "input", "output", "webhook_events")
_LISTS = ("output", "webhook_events")
_NAMES = tuple(each.name for each in fields(PredictionRecord))


def row_of(record: PredictionRecord) -> dict[str, Any]:
    """The columns of a record."""
    values = {name: getattr(record, name) for name in _NAMES}
    return values | {name: _json(values[name]) for name in _JSON}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _record(row: Row[Any]) -> PredictionRecord:
    values = dict(row._mapping)
    for name in _JSON:
        values[name] = msgspec.json.decode(values[name])
    return PredictionRecord(**values | {name: tuple(values[name]) for name in _LISTS})


# Built once: making a statement costs several times what running it does.
_ADD = insert(predictions)
_GET = select(predictions).where(predictions.c.id == bindparam("wanted"))
_CHANGE = update(predictions).where(
    predictions.c.id == bindparam("wanted"),
    predictions.c.worker == bindparam("of_worker"),
    predictions.c.attempt == bindparam("of_attempt"),
    predictions.c.due_us.is_not(None),
)


def add(
    connection: Connection, record: PredictionRecord, webhooks: Sequence[WebhookRecord] = (),
    reads: Collection[str] = (), replaces: bool = False,
) -> PredictionRecord:
    """Keep a new prediction that reads the files with the ids `reads`, and what is to be told of it; of one with the
    owner's idempotency key, what is there already. If it `replaces`, one that came to nothing, or whose data were
    removed, leaves it the key.
    """
    if record.idempotency_key is None:
        connection.execute(_ADD, row_of(record))
    elif (there := _there_already(connection, record, replaces)) is not None:
        return there
    if reads:
        rows = [{"prediction_id": record.id, "file_id": file_id} for file_id in dict.fromkeys(reads)]
        connection.execute(insert(prediction_files), rows)
    add_all(connection, webhooks)
    return record


def _there_already(connection: Connection, record: PredictionRecord, replaces: bool) -> PredictionRecord | None:
    """Keep `record`, or find what has its owner's idempotency key."""
    same = (predictions.c.owner == record.owner) & (predictions.c.idempotency_key == record.idempotency_key)
    if replaces:
        over = predictions.c.status.in_(("failed", "canceled")) | predictions.c.removed_us.is_not(None)
        connection.execute(update(predictions).where(same, over).values(idempotency_key=None))
    try:
        with connection.begin_nested():
            connection.execute(_ADD, row_of(record))
    except IntegrityError:
        return _record(connection.execute(select(predictions).where(same)).one())
    return None


def get(connection: Connection, prediction_id: str) -> PredictionRecord | None:
    row = connection.execute(_GET, {"wanted": prediction_id}).one_or_none()
    return None if row is None else _record(row)


def by_idempotency_key(connection: Connection, owner: str, key: str) -> PredictionRecord | None:
    same = (predictions.c.owner == owner) & (predictions.c.idempotency_key == key)
    row = connection.execute(select(predictions).where(same)).one_or_none()
    return None if row is None else _record(row)


def by_stream_token(connection: Connection, token: str) -> PredictionRecord | None:
    row = connection.execute(select(predictions).where(predictions.c.stream_token == token)).one_or_none()
    return None if row is None else _record(row)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which predictions a list shows: of one owner (None: of all), with an id below or above another's, in a time."""

    owner: str | None = None
    dialect: str | None = None
    status: str | None = None
    below: str | None = None
    above: str | None = None
    from_us: int | None = None
    before_us: int | None = None


def page(connection: Connection, only: Filter, limit: int) -> list[PredictionRecord]:
    """Up to `limit` predictions, the newest first; with `above`, those next to it."""
    query = select(predictions)
    for column, value in (("owner", only.owner), ("dialect", only.dialect), ("status", only.status)):
        if value is not None:
            query = query.where(predictions.c[column] == value)
    if only.below is not None:
        query = query.where(predictions.c.id < only.below)
    if only.above is not None:
        query = query.where(predictions.c.id > only.above)
    if only.from_us is not None:
        query = query.where(predictions.c.created_us >= only.from_us)
    if only.before_us is not None:
        query = query.where(predictions.c.created_us < only.before_us)
    upward = only.above is not None
    query = query.order_by(predictions.c.id if upward else predictions.c.id.desc()).limit(limit)
    found = [_record(row) for row in connection.execute(query)]
    return found[::-1] if upward else found


def succeeded(connection: Connection, owner: str, dialect: str, since_us: Sequence[int]) -> list[int]:
    """How many predictions of `owner` succeeded since each of some moments. It looks at all of them."""
    good = (
        (predictions.c.owner == owner) & (predictions.c.dialect == dialect) & (predictions.c.status == "succeeded")
    )
    counted = (func.count().filter(predictions.c.completed_us >= moment) for moment in since_us)
    return list(connection.execute(select(*counted).where(good)).one())


# ---- a worker's -----------------------------------------------------------------------------------------------------


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
    return sorted((_record(row) for row in connection.execute(taken)), key=lambda record: record.id)


def renew(connection: Connection, worker: str, until_us: int) -> None:
    """All that a worker has stays its own until `until_us`."""
    mine = (predictions.c.worker == worker) & predictions.c.due_us.is_not(None)
    connection.execute(update(predictions).where(mine).values(due_us=until_us))


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


def waiting_models(connection: Connection, now_us: int) -> list[str]:
    """Models that predictions wait for which nobody works on."""
    query = select(predictions.c.model).where(predictions.c.due_us <= now_us).distinct()
    return list(connection.scalars(query))


def change(
    connection: Connection, record: PredictionRecord, webhooks: Sequence[WebhookRecord] = (), **values: Any
) -> bool:
    """Change a prediction that is still this attempt's, and write what is to be told of it; whether it was."""
    mine = {"wanted": record.id, "of_worker": record.worker, "of_attempt": record.attempt}
    values |= {name: _json(values[name]) for name in _JSON if name in values}
    if values.get("status") in ENDED:
        values |= {"due_us": None, "worker": None}
    if not connection.execute(_CHANGE, {**values, **mine}).rowcount:
        return False
    add_all(connection, webhooks)
    return True


def ask_to_cancel(connection: Connection, prediction_id: str, now_us: int) -> PredictionRecord | None:
    """Note that a prediction shall stop, if it has not ended; the prediction."""
    connection.execute(
        update(predictions)
        .where(
            predictions.c.id == prediction_id, predictions.c.due_us.is_not(None), predictions.c.cancel_us.is_(None)
        )
        .values(cancel_us=now_us)
    )
    return get(connection, prediction_id)


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
    return None if row is None else _record(row)


def with_usage(record: PredictionRecord, usage: Usage) -> dict[str, int]:
    """The columns of `usage`, added to what earlier attempts used."""
    return {
        each.name: getattr(record, each.name) + getattr(usage, each.name)
        for each in fields(Usage)
    }

