"""Predictions, what is to be told of them, and secrets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    big, text, whole = sa.BigInteger, sa.Text, sa.Integer
    op.create_table(
        "predictions",
        sa.Column("id", text, primary_key=True),
        *(sa.Column(name, text, nullable=False) for name in ("owner", "dialect", "model", "shown", "input")),
        *(sa.Column(name, text, nullable=False) for name in ("generation", "status", "output")),
        sa.Column("error", text),
        sa.Column("logs", text, nullable=False),
        *(sa.Column(f"{name}_tokens", big, nullable=False) for name in ("prompt", "cached", "image", "completion")),
        sa.Column("created_us", big, nullable=False),
        *(sa.Column(f"{name}_us", big) for name in ("started", "first_token", "completed", "deadline", "cancel")),
        sa.Column("removed_us", big),
        sa.Column("webhook", text),
        sa.Column("webhook_events", text, nullable=False),
        sa.Column("stream_token", text, nullable=False),
        sa.Column("idempotency_key", text),
        sa.Column("worker", text),
        sa.Column("attempt", whole, nullable=False),
        sa.Column("due_us", big),
    )
    op.create_index("ix_predictions_owner_id", "predictions", ["owner", "id"])
    op.create_index("ix_predictions_model_due_us", "predictions", ["model", "due_us"])
    op.create_index("ix_predictions_completed_us", "predictions", ["completed_us"])
    op.create_index("ix_predictions_removed_us_completed_us", "predictions", ["removed_us", "completed_us"])
    op.create_index("ix_predictions_stream_token", "predictions", ["stream_token"], unique=True)
    op.create_index("ux_predictions_idempotency", "predictions", ["owner", "idempotency_key"], unique=True)
    op.create_table(
        "prediction_files",
        sa.Column("prediction_id", text, sa.ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("file_id", text, primary_key=True),
    )
    op.create_index("ix_prediction_files_file_id", "prediction_files", ["file_id"])
    op.create_table(
        "webhooks",
        sa.Column("id", text, primary_key=True),
        sa.Column("prediction_id", text, sa.ForeignKey("predictions.id", ondelete="CASCADE"), nullable=False),
        sa.Column("number", whole, nullable=False),
        *(sa.Column(name, text, nullable=False) for name in ("event", "url", "receiver", "body", "state")),
        sa.Column("attempts", whole, nullable=False),
        sa.Column("replayed", whole, nullable=False),
        sa.Column("created_us", big, nullable=False),
        sa.Column("due_us", big),
        sa.Column("ended_us", big),
    )
    op.create_index("ix_webhooks_prediction_id_number", "webhooks", ["prediction_id", "number"])
    op.create_index("ix_webhooks_state_receiver_due_us", "webhooks", ["state", "receiver", "due_us"])
    op.create_table(
        "webhook_attempts",
        sa.Column("webhook_id", text, sa.ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", whole, primary_key=True),
        sa.Column("started_us", big, nullable=False),
        sa.Column("seconds_us", big, nullable=False),
        sa.Column("status", whole),
        sa.Column("error", text),
    )
    op.create_table(
        "secrets",
        sa.Column("name", text, primary_key=True),
        sa.Column("value", text, nullable=False),
        sa.Column("created_us", big, nullable=False),
    )
