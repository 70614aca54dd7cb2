"""Statements that are run for every prediction. On SQLite their way through SQLAlchemy takes several times what the
database itself does; there the text that SQLAlchemy makes of them goes straight to the driver.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Executable
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.sql.elements import CompilerElement

_NAMED = dialect(paramstyle="named")


class Prepared:
    """`statement` with values for the columns `sets`, if it is one that sets some. Its columns and parameters are texts
    and whole numbers, which no driver has to convert. `postgres` is the same where SQLAlchemy keeps the two apart.
    """

    def __init__(
        self, statement: Executable, sets: Sequence[str] | None = None, postgres: Executable | None = None
    ) -> None:
        self._statement = (statement if postgres is None else postgres).execution_options(preserve_rowcount=True)
        compiled = cast(CompilerElement, statement).compile(dialect=_NAMED, column_keys=sets)
        self._text = str(compiled)
        self._fixed = {name: value for name, value in compiled.params.items() if type(value) in (str, int)}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """How many rows it changed."""
        if connection.dialect.name == "sqlite":
            return self._execute(connection, values).rowcount
        return connection.execute(self._statement, values).rowcount

    def one(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any] | None:
        """The one row that it finds, if there is one."""
        if connection.dialect.name == "sqlite":
            row: Sequence[Any] | None = self._execute(connection, values).fetchone()
            return row
        return connection.execute(self._statement, values).one_or_none()

    def _execute(self, connection: Connection, values: Mapping[str, Any]) -> sqlite3.Cursor:
        return driver_of(connection).execute(self._text, {**self._fixed, **values} if self._fixed else values)


def driver_of(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection, to SQLite."""
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)
