"""The tables. Types that every database has: text, whole numbers, microseconds since 1970, JSON as text."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, Table, Text

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"},
)

# `owner` is who may see a row: what a key is remembered by, "" on a server without keys.
files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("details", Text, nullable=False),
    Index(None, "owner", "id"),
    Index(None, "expires_us"),
)

# `lease_owner` is the server that works on a batch, until `lease_us` unless it says again that it lives.
batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("completion_window", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("input_file_id", Text, nullable=False),
    Column("output_file_id", Text),
    Column("error_file_id", Text),
    Column("output_expires_seconds", Integer),
    Column("status", Text, nullable=False),
    Column("model", Text),
    Column("problems", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("in_progress_us", BigInteger),
    Column("finalizing_us", BigInteger),
    Column("completed_us", BigInteger),
    Column("failed_us", BigInteger),
    Column("expired_us", BigInteger),
    Column("cancelling_us", BigInteger),
    Column("cancelled_us", BigInteger),
    Column("lease_owner", Text),
    Column("lease_us", BigInteger),
    Index(None, "owner", "id"),
    Index(None, "status", "lease_us"),
)

# The lines of a batch that are done, until its files are written. `succeeded` is 0 or 1.
batch_lines = Table(
    "batch_lines",
    metadata,
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("succeeded", Integer, nullable=False),
    Column("line", Text, nullable=False),
)

# `due_us` is when a worker may take the prediction: at once while nobody has it, else when its lease is over, never
# (null) once it has ended. Every change by a worker names it and the `attempt` that it was given.
predictions = Table(
    "predictions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("shown", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("error", Text),
    Column("error_code", Text),
    Column("logs", Text, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("image_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("started_us", BigInteger),
    Column("first_token_us", BigInteger),
    Column("completed_us", BigInteger),
    Column("deadline_us", BigInteger),
    Column("cancel_us", BigInteger),
    Column("removed_us", BigInteger),
    Column("webhook", Text),
    Column("webhook_events", Text, nullable=False),
    Column("stream_token", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("worker", Text),
    Column("attempt", Integer, nullable=False),
    Column("due_us", BigInteger),
    Column("cost_nano", BigInteger),
    Column("cold_us", BigInteger, nullable=False),
    Column("cold_phases", Text, nullable=False),
    Index(None, "owner", "id"),
    Index(None, "model", "due_us"),
    Index(None, "completed_us"),
    Index(None, "removed_us", "completed_us"),
    Index(None, "stream_token", unique=True),
    Index("ux_predictions_idempotency", "owner", "idempotency_key", unique=True),
)

# The files that predictions read; one that was given for this alone is deleted with the last of them.
prediction_files = Table(
    "prediction_files",
    metadata,
    Column("prediction_id", Text, ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True),
    Column("file_id", Text, primary_key=True),
    Index(None, "file_id"),
)

# What callers asked to be told of: written with the change that it tells of. `number` is a message's place among its
# prediction's, `receiver` the origin of its URL. `state` is waiting, delivered, given_up, or moot: a newer one tells
# more. `due_us` is when it is tried next; `replayed` is how many tries there were when it was last asked for again.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("prediction_id", Text, ForeignKey("predictions.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("event", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("replayed", Integer, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("due_us", BigInteger),
    Column("ended_us", BigInteger),
    Index(None, "prediction_id", "number"),
    Index(None, "state", "receiver", "due_us"),
)

# Each try to deliver one: `status` is of HTTP, or null with the `error` that came first.
webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("webhook_id", Text, ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("started_us", BigInteger, nullable=False),
    Column("seconds_us", BigInteger, nullable=False),
    Column("status", Integer),
    Column("error", Text),
)

# What the server must remember about itself, such as the key that webhooks are signed with.
secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

# Keys, each remembered by the hash of its secret. `id` is what rows call their owner, and stays when the secret
# changes; `earlier` is the hash before, which lets in until `earlier_until_us`. `limits` are as JSON.
keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("start", Text, nullable=False),
    Column("earlier", Text),
    Column("earlier_until_us", BigInteger),
    Column("name", Text, nullable=False),
    Column("admin", Integer, nullable=False),
    Column("limits", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("changed_us", BigInteger, nullable=False),
    Index(None, "hash", unique=True),
    Index(None, "changed_us"),
)

# What every generation used and cost, with the price applied. `day` is days since 1970, of its admission.
usage = Table(
    "usage",
    metadata,
    Column("id", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("called", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("image_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("images", Integer, nullable=False),
    Column("captions", Integer, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("seconds_us", BigInteger, nullable=False),
    Column("price", Text, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("day", Integer, nullable=False),
    Index(None, "owner", "id"),
    Index(None, "day"),
)

_SUMS = (
    "requests", "prompt_tokens", "cached_tokens", "image_tokens", "completion_tokens", "images", "captions",
    "seconds_us", "cost_nano",
)  # fmt: skip


def _sums(name: str, keys: Sequence[str], *more: Index) -> Table:
    """Usage added up by `keys`. On SQLite rows lie in the order of the keys, which charts read them in."""
    return Table(
        name,
        metadata,
        *(Column(key, Integer if key == "day" else Text, primary_key=True) for key in keys),
        *(Column(each, BigInteger, nullable=False) for each in _SUMS),
        *more,
        sqlite_with_rowid=False,
    )


# The same added up, so that a million rows are a few thousand; and without keys, and without models, so that they are
# not more the more keys there are. All of it changes in the transaction that adds rows.
usage_days = _sums("usage_days", ("day", "owner", "model", "dialect"), Index(None, "owner", "day"))
usage_days_by_model = _sums("usage_days_by_model", ("day", "model", "dialect"))
usage_days_by_owner = _sums("usage_days_by_owner", ("owner", "day"))

# What of a key's budget for the period that begins on `day` is a server's to spend, until `lease_us` unless it says
# again that it lives. Spent and granted together never exceed the limit.
budget_grants = Table(
    "budget_grants",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("server", Text, primary_key=True),
    Column("nano", BigInteger, nullable=False),
    Column("lease_us", BigInteger, nullable=False),
)
