"""Files, batches and their lines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    big, text, whole = sa.BigInteger, sa.Text, sa.Integer
    op.create_table(
        "files",
        sa.Column("id", text, primary_key=True),
        *(sa.Column(name, text, nullable=False) for name in ("owner", "purpose", "filename", "content_type")),
        sa.Column("size", big, nullable=False),
        sa.Column("sha256", text, nullable=False),
        sa.Column("created_us", big, nullable=False),
        sa.Column("expires_us", big),
        sa.Column("details", text, nullable=False),
    )
    op.create_index("ix_files_owner_id", "files", ["owner", "id"])
    op.create_index("ix_files_expires_us", "files", ["expires_us"])
    op.create_table(
        "batches",
        sa.Column("id", text, primary_key=True),
        *(sa.Column(name, text, nullable=False) for name in ("owner", "endpoint", "completion_window", "metadata")),
        sa.Column("input_file_id", text, nullable=False),
        sa.Column("output_file_id", text),
        sa.Column("error_file_id", text),
        sa.Column("output_expires_seconds", whole),
        sa.Column("status", text, nullable=False),
        sa.Column("model", text),
        sa.Column("problems", text, nullable=False),
        *(sa.Column(name, whole, nullable=False) for name in ("total", "completed", "failed")),
        *(sa.Column(name, big, nullable=False) for name in ("input_tokens", "cached_tokens", "output_tokens")),
        sa.Column("created_us", big, nullable=False),
        sa.Column("expires_us", big, nullable=False),
        *(sa.Column(f"{name}_us", big) for name in ("in_progress", "finalizing", "completed", "failed", "expired")),
        *(sa.Column(f"{name}_us", big) for name in ("cancelling", "cancelled")),
        sa.Column("lease_owner", text),
        sa.Column("lease_us", big),
    )
    op.create_index("ix_batches_owner_id", "batches", ["owner", "id"])
    op.create_index("ix_batches_status_lease_us", "batches", ["status", "lease_us"])
    op.create_table(
        "batch_lines",
        sa.Column("batch_id", text, sa.ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", whole, primary_key=True),
        sa.Column("succeeded", whole, nullable=False),
        sa.Column("line", text, nullable=False),
    )
