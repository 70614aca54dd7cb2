"""The schema, brought up to date when a store is opened: Alembic's versions, run from here without its command line."""

from __future__ import annotations

from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from ...engine.errors import TriptychError

_FOLDER = Path(__file__).with_name("migrations")
# Any number: whoever holds it in PostgreSQL migrates, the others wait.
_LOCK = 7_311_865


class NewerSchemaError(TriptychError):
    """The database has migrations that this program does not know."""


def upgrade(where: Engine | Connection, target: str = "head") -> None:
    """Run the migrations up to `target` that the database has not had, in one transaction that no other server can run
    beside.

    A database that is newer than this program is refused.
    """
    if isinstance(where, Engine):
        with where.connect() as connection:
            upgrade(connection, target)
        return
    with where.begin():  # exclusive in SQLite, where writing transactions begin as such
        if where.dialect.name == "postgresql":
            where.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        scripts = ScriptDirectory(str(_FOLDER))
        context = MigrationContext.configure(where, opts={"as_sql": False, "render_as_batch": True})
        have = context.get_current_revision()
        known = {script.revision for script in scripts.walk_revisions()}
        if have is not None and have not in known:
            raise NewerSchemaError(f"the database was made by a newer version of triptych (schema {have})")
        steps = [] if have == scripts.get_current_head() else list(scripts.iterate_revisions(target, have or "base"))
        with Operations.context(context):
            for script in reversed(steps):
                script.module.upgrade()
        if steps:
            context.stamp(scripts, target)



def revisions() -> list[str]:
    """All revisions, the oldest first."""
    return [script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions()][::-1]
