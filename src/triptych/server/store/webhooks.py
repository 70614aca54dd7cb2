"""Statements on what is to be told: webhooks and their tries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from .tables import predictions, webhook_attempts, webhooks

# Told once; everything else is progress, of which the newest tells all that the earlier ones did.
COMPLETED = "completed"
_REPEATED = ("output", "logs")


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """One message. `state` is waiting, delivered, given_up or moot; times in microseconds. `number`, its place among
    the prediction's, and `receiver`, the origin of its URL, are given to it when it is stored. `replayed` is how many
    tries there were when it was last asked for again. `kind` says how it goes: one of `delivery.kinds`.
    """

    id: str
    prediction_id: str
    event: str
    url: str
    body: str
    created_us: int
    due_us: int | None
    state: str = "waiting"
    attempts: int = 0
    ended_us: int | None = None
    number: int = 0
    receiver: str = ""
    replayed: int = 0
    kind: str = "webhook"


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One try: `status` is of HTTP, None if there was no answer but an `error`; `seconds_us` is how long it took, in
    microseconds. `number` is given to it when it is stored.
    """

    webhook_id: str
    started_us: int
    seconds_us: int
    status: int | None = None
    error: str | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message of `owner` that is one deliverer's to try until `record.due_us`."""

    record: WebhookRecord
    owner: str


def _webhook(row: Row[Any]) -> WebhookRecord:
    return WebhookRecord(**row._mapping)


def receiver_of(url: str) -> str:
    """Scheme, host and port: who is asked to wait, and is waited for, together."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()


def add_all(connection: Connection, records: Sequence[WebhookRecord]) -> None:
    """Keep new messages of one prediction, whose row the transaction has changed before: that puts them in order.

    Earlier ones of the same events and URLs that wait and that nobody has tried are moot, so few ever wait for one
    prediction.
    """
    if not records:
        return
    prediction_id = records[0].prediction_id
    ours = webhooks.c.prediction_id == prediction_id
    last = connection.scalar(select(func.max(webhooks.c.number)).where(ours)) or 0
    if events := {record.event for record in records}.intersection(_REPEATED):
        now = records[0].created_us
        urls = webhooks.c.url.in_(sorted({record.url for record in records}))
        untried = ours & urls & webhooks.c.event.in_(sorted(events)) & (webhooks.c.state == "waiting")
        connection.execute(
            update(webhooks)
            .where(untried, webhooks.c.due_us <= now, webhooks.c.attempts == 0)
            .values(state="moot", due_us=None, ended_us=now)
        )
    rows = [
        {**asdict(record), "number": number, "receiver": receiver_of(record.url)}
        for number, record in enumerate(records, last + 1)
    ]
    connection.execute(insert(webhooks), rows)


def get(connection: Connection, webhook_id: str, owner: str | None = None) -> WebhookRecord | None:
    """The message, if it tells of a prediction of `owner` (None: of anybody's)."""
    query = select(webhooks).where(webhooks.c.id == webhook_id)
    row = connection.execute(_owned(query, owner)).one_or_none()
    return None if row is None else _webhook(row)


def _owned(query: Any, owner: str | None) -> Any:
    if owner is None:
        return query
    theirs = select(predictions.c.id).where(
        predictions.c.id == webhooks.c.prediction_id, predictions.c.owner == owner
    )
    return query.where(theirs.exists())  # a join would sort all that the owner has


# ---- a deliverer's --------------------------------------------------------------------------------------------------

_earlier = webhooks.alias("earlier")
# Whether a message is the first of its prediction that waits for its URL: only that one may go.
_FIRST = (
    webhooks.c.number
    == select(func.min(_earlier.c.number))
    .where(
        _earlier.c.prediction_id == webhooks.c.prediction_id,
        _earlier.c.url == webhooks.c.url,
        _earlier.c.state == "waiting",
    )
    .scalar_subquery()
)
_WAITING = webhooks.c.state == "waiting"


def receivers(connection: Connection) -> list[tuple[str, int]]:
    """Every receiver that something waits for, and when the next message to it is due, in microseconds.

    It jumps from one receiver to the next in the index, however many messages wait for each.
    """
    found = select(func.min(webhooks.c.receiver).label("receiver")).where(_WAITING).cte("found", recursive=True)
    following = (
        select(func.min(webhooks.c.receiver))
        .where(_WAITING, webhooks.c.receiver > found.c.receiver)
        .correlate(found)
        .scalar_subquery()
    )
    found = found.union_all(select(following).select_from(found).where(found.c.receiver.is_not(None)))
    due_us = (
        select(webhooks.c.due_us)
        .where(_WAITING, webhooks.c.receiver == found.c.receiver, _FIRST)
        .order_by(webhooks.c.due_us)
        .limit(1)
        .correlate(found)
        .scalar_subquery()
        .label("due_us")
    )
    rows = connection.execute(select(found.c.receiver, due_us).where(found.c.receiver.is_not(None)))
    return [(row.receiver, row.due_us) for row in rows if row.due_us is not None]


def claim(connection: Connection, receiver: str, now_us: int, until_us: int, limit: int) -> list[Claimed]:
    """Up to `limit` messages to `receiver` whose time has come, the first that waits of each prediction for its URL;
    nobody else gets them before `until_us`.
    """
    pick = (
        select(webhooks.c.id)
        .where(_WAITING, webhooks.c.receiver == receiver, webhooks.c.due_us <= now_us, _FIRST)
        .order_by(webhooks.c.due_us)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    taken = update(webhooks).where(webhooks.c.id.in_(select(pick.c.id))).values(due_us=until_us).returning(webhooks)
    found = [_webhook(row) for row in connection.execute(taken)]
    ids = {record.prediction_id for record in found}
    rows = connection.execute(select(predictions.c.id, predictions.c.owner).where(predictions.c.id.in_(ids)))
    owners = {row.id: row.owner for row in rows}
    return [Claimed(record, owners[record.prediction_id]) for record in sorted(found, key=lambda record: record.id)]


def unclaim(connection: Connection, records: Sequence[WebhookRecord], now_us: int) -> None:
    """Leave claimed messages that were not tried to their end to whoever comes, at once."""
    for record in records:
        connection.execute(update(webhooks).where(_still(record)).values(due_us=now_us))


def _still(record: WebhookRecord) -> Any:
    """Whether nothing happened to a message since it was claimed; `due_us` is different in each claim."""
    return (webhooks.c.id == record.id) & _WAITING & (webhooks.c.due_us == record.due_us)


def tried(
    connection: Connection,
    record: WebhookRecord,
    attempt: AttemptRecord,
    state: str,
    due_us: int | None = None,
    gone: bool = False,
) -> str | None:
    """Keep a try of a claimed message, and what it means for it: delivered, given_up, or waiting until `due_us`; if its
    receiver is `gone`, also for all that waits for that. The state that it has now, None if it was deleted.

    Progress that failed is moot once something newer waits. A try that failed after its claim ran out changes nothing:
    by then the message is another's.
    """
    query = select(webhooks.c.attempts, webhooks.c.state, webhooks.c.due_us).where(webhooks.c.id == record.id)
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        return None
    values: dict[str, Any] = {"attempts": row.attempts + 1}
    connection.execute(insert(webhook_attempts).values({**asdict(attempt), "number": row.attempts + 1}))
    if state == "delivered" or (row.state == "waiting" and row.due_us == record.due_us):
        if state == "waiting" and record.event != COMPLETED and _newer_waits(connection, record):
            state = "moot"
        ended_us = None if state == "waiting" else attempt.started_us + attempt.seconds_us
        values |= {"state": state, "due_us": due_us if state == "waiting" else None, "ended_us": ended_us}
    else:
        state = row.state
    connection.execute(update(webhooks).where(webhooks.c.id == record.id).values(values))
    forget_ended(connection, webhooks.c.id == record.id)
    if gone:
        _give_up_url(connection, record.url, attempt.started_us + attempt.seconds_us)
    return state


def _newer_waits(connection: Connection, record: WebhookRecord) -> bool:
    same = (webhooks.c.prediction_id == record.prediction_id) & (webhooks.c.url == record.url)
    newer = same & (webhooks.c.number > record.number) & _WAITING
    return connection.scalar(select(webhooks.c.id).where(newer).limit(1)) is not None


def _give_up_url(connection: Connection, url: str, now_us: int) -> None:
    """Those whose tries are being kept at this moment hear themselves that their receiver is gone."""
    waiting = _WAITING & (webhooks.c.receiver == receiver_of(url)) & (webhooks.c.url == url)
    ids = list(connection.scalars(select(webhooks.c.id).where(waiting).with_for_update(skip_locked=True)))
    given_up = update(webhooks).where(webhooks.c.id.in_(ids), _WAITING)
    connection.execute(given_up.values(state="given_up", due_us=None, ended_us=now_us))
    forget_ended(connection, webhooks.c.id.in_(ids))


def forget_ended(connection: Connection, which: Any) -> None:
    """Delete those of some messages that wait no more, if the data of their predictions were removed: they have them
    in their bodies.
    """
    removed = select(predictions.c.id).where(
        predictions.c.id == webhooks.c.prediction_id, predictions.c.removed_us.is_not(None)
    )
    connection.execute(delete(webhooks).where(which, ~_WAITING, removed.exists()))


# ---- looking, and asking again --------------------------------------------------------------------------------------


def waiting(connection: Connection) -> int:
    """How many messages wait. It reads them all."""
    return connection.scalar(select(func.count()).select_from(webhooks).where(_WAITING)) or 0


def replay(connection: Connection, webhook_id: str, now_us: int) -> WebhookRecord | None:
    """Send a message once more, at once, under its own id, and again as often as a new one; the message."""
    connection.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook_id)
        .values(state="waiting", due_us=now_us, ended_us=None, replayed=webhooks.c.attempts)
    )
    return get(connection, webhook_id)


def page(
    connection: Connection, *, owner: str | None = None, prediction_id: str | None = None, state: str | None = None,
    below: str | None = None, limit: int = 100,
) -> list[WebhookRecord]:
    """Up to `limit` messages of predictions of `owner` (None: of anybody's), the newest first. It may read many."""
    query = select(webhooks)
    for column, value in (("prediction_id", prediction_id), ("state", state)):
        if value is not None:
            query = query.where(webhooks.c[column] == value)
    if below is not None:
        query = query.where(webhooks.c.id < below)
    query = _owned(query, owner).order_by(webhooks.c.id.desc()).limit(limit)
    return [_webhook(row) for row in connection.execute(query)]


def attempts(connection: Connection, webhook_id: str) -> list[AttemptRecord]:
    """All tries of a message, the first one first."""
    query = select(webhook_attempts).where(webhook_attempts.c.webhook_id == webhook_id)
    rows = connection.execute(query.order_by(webhook_attempts.c.number))
    return [AttemptRecord(**row._mapping) for row in rows]
