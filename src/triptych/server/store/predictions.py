"""Statements on predictions. States change by compare-and-set: what a worker changes names it and its attempt, and a
prediction that has ended never changes but for the removal of its data.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import msgspec
from msgspec.structs import asdict
from sqlalchemy import Connection, bindparam, func, insert, null, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ...engine.request import Usage
from .prepared import Prepared
from .tables import prediction_files, predictions
from .webhooks import WebhookRecord, add_all

ENDED = ("succeeded", "failed", "canceled")
# The purpose of files that were given as the input of a prediction and for nothing else.
INPUT_FILE = "prediction_input"


class PredictionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction. Times are in microseconds. `model` is the served name that runs it; `shown` is what its dialect
    shows of it beside, `input` what the caller sent; `generation` is what is run, as JSON. `output` only ever grows.
    `error_code` says in a word what kind of failure `error` is, for dialects that have codes of their own.
    `cold_us` is how long it waited for its model to start, and `cold_phases` the seconds that each phase of the start
    took. `cost_nano` is what it cost, in nano-dollars, once it has ended.
    """

    id: str
    owner: str
    dialect: str
    model: str
    generation: str
    created_us: int
    stream_token: str
    shown: dict[str, Any] = {}
    input: dict[str, Any] = {}
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
    cold_us: int = 0
    cold_phases: dict[str, float] = {}
    cost_nano: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.cached_tokens, self.image_tokens, self.completion_tokens)


_JSON = ("shown", "input", "output", "webhook_events", "cold_phases")
# As rows come from the database.
_COLUMNS = tuple(predictions.c.keys())
# What an attempt changes, beside what ends it.
_CHANGED = (
    "status", "output", "error", "error_code", "logs", "prompt_tokens", "cached_tokens", "image_tokens",
    "completion_tokens", "started_us", "first_token_us", "completed_us", "attempt", "cold_us", "cold_phases",
    "cost_nano",
)  # fmt: skip
_CHANGED_JSON = tuple(name for name in _JSON if name in _CHANGED)


def row_of(record: PredictionRecord) -> dict[str, Any]:
    """The columns of a record."""
    row = asdict(record)
    for name in _JSON:
        row[name] = _json(row[name])
    return row


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def record_of(row: Sequence[Any]) -> PredictionRecord:
    """The record of a whole row."""
    values = dict(zip(_COLUMNS, row, strict=True))
    for name in _JSON:
        values[name] = msgspec.json.decode(values[name])
    values["output"], values["webhook_events"] = tuple(values["output"]), tuple(values["webhook_events"])
    return PredictionRecord(**values)


_SAME_KEY = ("owner", "idempotency_key")
_ADD = Prepared(
    sqlite.insert(predictions).on_conflict_do_nothing(_SAME_KEY),
    _COLUMNS,
    postgresql.insert(predictions).on_conflict_do_nothing(index_elements=_SAME_KEY),
)
_GET = Prepared(select(predictions).where(predictions.c.id == bindparam("wanted")))
_OF_KEY = (predictions.c.owner == bindparam("of_owner")) & (predictions.c.idempotency_key == bindparam("key"))
_BY_KEY = Prepared(select(predictions).where(_OF_KEY))
_OVER = or_(
    predictions.c.status == "failed", predictions.c.status == "canceled", predictions.c.removed_us.is_not(None)
)
_LET_GO = Prepared(update(predictions).where(_OF_KEY, _OVER).values(idempotency_key=null()))
_READS = Prepared(insert(prediction_files), tuple(prediction_files.c.keys()))
_BY_STREAM = Prepared(select(predictions).where(predictions.c.stream_token == bindparam("wanted")))
_MINE = update(predictions).where(
    predictions.c.id == bindparam("wanted"),
    predictions.c.worker == bindparam("of_worker"),
    predictions.c.attempt == bindparam("of_attempt"),
    predictions.c.due_us.is_not(None),
)
_CHANGE = Prepared(_MINE, _CHANGED)
_END = Prepared(_MINE.values(due_us=null(), worker=null()), _CHANGED)


def add(
    connection: Connection, record: PredictionRecord, webhooks: Sequence[WebhookRecord] = (),
    reads: Collection[str] = (), replaces: bool = False,
) -> PredictionRecord:
    """Keep a new prediction that reads the files with the ids `reads`, and what is to be told of it; of one with the
    owner's idempotency key, what is there already. If it `replaces`, one that came to nothing, or whose data were
    removed, leaves it the key.
    """
    while not _ADD.run(connection, row_of(record)):
        key = {"of_owner": record.owner, "key": record.idempotency_key}
        if replaces and _LET_GO.run(connection, key):
            continue
        if (row := _BY_KEY.one(connection, key)) is not None:
            return record_of(row)
    for file_id in dict.fromkeys(reads):
        _READS.run(connection, {"prediction_id": record.id, "file_id": file_id})
    add_all(connection, webhooks)
    return record


@dataclass(frozen=True, slots=True)
class Addition:
    """What `add` keeps, without anything to tell."""

    record: PredictionRecord
    reads: Collection[str] = ()
    replaces: bool = False


def add_some(connection: Connection, additions: Sequence[Addition]) -> list[PredictionRecord]:
    """Keep all of several or none, as `add` does. Keys are taken in their order, so that two servers never wait for
    each other's.
    """
    added: dict[str, PredictionRecord] = {}
    for addition in sorted(additions, key=lambda addition: addition.record.idempotency_key or ""):
        added[addition.record.id] = add(
            connection, addition.record, reads=addition.reads, replaces=addition.replaces
        )
    return [added[addition.record.id] for addition in additions]


def get(connection: Connection, prediction_id: str) -> PredictionRecord | None:
    row = _GET.one(connection, {"wanted": prediction_id})
    return None if row is None else record_of(row)


def by_idempotency_key(connection: Connection, owner: str, key: str) -> PredictionRecord | None:
    return by_idempotency_keys(connection, owner, [key]).get(key)


def by_idempotency_keys(connection: Connection, owner: str, keys: Collection[str]) -> dict[str, PredictionRecord]:
    """The owner's predictions with these keys, by key."""
    rows = {key: _BY_KEY.one(connection, {"of_owner": owner, "key": key}) for key in keys}
    return {key: record_of(row) for key, row in rows.items() if row is not None}


def by_stream_token(connection: Connection, token: str) -> PredictionRecord | None:
    row = _BY_STREAM.one(connection, {"wanted": token})
    return None if row is None else record_of(row)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which predictions a list shows: of one owner (None: of all), with an id below or above another's, in a time;
    `part` is a text somewhere in the id.
    """

    owner: str | None = None
    dialect: str | None = None
    status: str | None = None
    model: str | None = None
    part: str | None = None
    below: str | None = None
    above: str | None = None
    from_us: int | None = None
    before_us: int | None = None

    @property
    def searches(self) -> bool:
        """Whether many may have to be looked at for a few: no index has them together."""
        return any(value is not None for value in (self.dialect, self.status, self.model, self.part))


def page(connection: Connection, only: Filter, limit: int) -> list[PredictionRecord]:
    """Up to `limit` predictions, the newest first; with `above`, those next to it."""
    query = select(predictions)
    for column in ("owner", "dialect", "status", "model"):
        if (value := getattr(only, column)) is not None:
            query = query.where(predictions.c[column] == value)
    if only.part is not None:
        query = query.where(predictions.c.id.contains(only.part, autoescape=True))
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
    found = [record_of(row) for row in connection.execute(query)]
    return found[::-1] if upward else found


def succeeded(
    connection: Connection, owner: str, dialect: str, since_us: Sequence[int]
) -> list[tuple[int, int]]:
    """How many predictions of `owner` succeeded since each of some moments, and what they cost together, in
    nano-dollars. It looks at all of them.
    """
    good = (
        (predictions.c.owner == owner) & (predictions.c.dialect == dialect) & (predictions.c.status == "succeeded")
    )
    since = [predictions.c.completed_us >= moment for moment in since_us]
    counts = (func.count().filter(each) for each in since)
    costs = (func.coalesce(func.sum(predictions.c.cost_nano).filter(each), 0) for each in since)
    found = [int(each) for each in connection.execute(select(*counts, *costs).where(good)).one()]
    return list(zip(found[: len(since)], found[len(since) :], strict=True))


def change(
    connection: Connection, record: PredictionRecord, webhooks: Sequence[WebhookRecord] = (), **values: Any
) -> bool:
    """Change a prediction that is still this attempt's, and write what is to be told of it; whether it was."""
    row = {name: values[name] if name in values else getattr(record, name) for name in _CHANGED}
    ended = row["status"] in ENDED
    for name in _CHANGED_JSON:
        row[name] = _json(row[name])
    mine = {"wanted": record.id, "of_worker": record.worker, "of_attempt": record.attempt}
    if not (_END if ended else _CHANGE).run(connection, row | mine):
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


def with_usage(record: PredictionRecord, usage: Usage) -> dict[str, int]:
    """The columns of `usage`, added to what earlier attempts used."""
    return {
        each.name: getattr(record, each.name) + getattr(usage, each.name)
        for each in fields(Usage)
    }

