"""How long predictions waited for their model to start, and what took so long."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("predictions", sa.Column("cold_us", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("predictions", sa.Column("cold_phases", sa.Text, nullable=False, server_default="{}"))
