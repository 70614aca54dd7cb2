"""What was used, added up by day for charts that tell no keys, or no models, apart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ADDED = (
    "requests", "prompt_tokens", "cached_tokens", "image_tokens", "completion_tokens", "images", "captions",
    "seconds_us", "cost_nano",
)  # fmt: skip
_TABLES = {"usage_days_by_model": ("day", "model", "dialect"), "usage_days_by_owner": ("owner", "day")}


def upgrade() -> None:
    sums = ", ".join(f"SUM({name})" for name in _ADDED)
    for table, keys in _TABLES.items():
        op.create_table(
            table,
            *(sa.Column(name, sa.Integer if name == "day" else sa.Text, primary_key=True) for name in keys),
            *(sa.Column(name, sa.BigInteger, nullable=False) for name in _ADDED),
            sqlite_with_rowid=False,
        )
        named = ", ".join(keys)
        op.execute(
            f"INSERT INTO {table} ({named}, {', '.join(_ADDED)}) "
            f"SELECT {named}, {sums} FROM usage_days GROUP BY {named}"
        )
