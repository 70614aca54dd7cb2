"""Keys, what was used and what it cost, and the budgets of keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TOKENS = ("prompt_tokens", "cached_tokens", "image_tokens", "completion_tokens")


def upgrade() -> None:
    big, text, whole = sa.BigInteger, sa.Text, sa.Integer
    op.create_table(
        "keys",
        sa.Column("id", text, primary_key=True),
        *(sa.Column(name, text, nullable=False) for name in ("hash", "start", "name", "limits")),
        sa.Column("earlier", text),
        sa.Column("admin", whole, nullable=False),
        *(sa.Column(name, big, nullable=False) for name in ("created_us", "changed_us")),
        *(sa.Column(name, big) for name in ("earlier_until_us", "expires_us", "revoked_us")),
    )
    op.create_index("ix_keys_hash", "keys", ["hash"], unique=True)
    op.create_index("ix_keys_changed_us", "keys", ["changed_us"])
    op.create_table(
        "usage",
        sa.Column("id", text, primary_key=True),
        *(sa.Column(name, text, nullable=False) for name in ("request_id", "owner", "dialect", "model", "called")),
        *(sa.Column(name, text, nullable=False) for name in ("reason", "price")),
        *(sa.Column(name, big, nullable=False) for name in _TOKENS),
        *(sa.Column(name, whole, nullable=False) for name in ("images", "captions", "calls", "day")),
        *(sa.Column(name, big, nullable=False) for name in ("seconds_us", "cost_nano", "created_us")),
    )
    op.create_index("ix_usage_owner_id", "usage", ["owner", "id"])
    op.create_index("ix_usage_day", "usage", ["day"])
    op.create_table(
        "usage_days",
        sa.Column("day", whole, primary_key=True),
        *(sa.Column(name, text, primary_key=True) for name in ("owner", "model", "dialect")),
        *(sa.Column(name, big, nullable=False) for name in ("requests", *_TOKENS, "images", "captions")),
        *(sa.Column(name, big, nullable=False) for name in ("seconds_us", "cost_nano")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_usage_days_owner_day", "usage_days", ["owner", "day"])
    op.create_table(
        "budget_grants",
        sa.Column("owner", text, primary_key=True),
        sa.Column("day", whole, primary_key=True),
        sa.Column("server", text, primary_key=True),
        *(sa.Column(name, big, nullable=False) for name in ("nano", "lease_us")),
    )
    op.add_column("predictions", sa.Column("cost_nano", big))
