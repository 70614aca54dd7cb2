"""What kind of failure a prediction's is, and what kind of message a webhook is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("predictions", sa.Column("error_code", sa.Text))
    op.add_column("webhooks", sa.Column("kind", sa.Text, nullable=False, server_default="webhook"))
