"""Brings usage to the database, behind the requests: in groups, and again until it is there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..store import budgets as budget_statements
from ..store import usage as statements
from ..store.store import Store, StoreError
from ..store.usage import UsageRecord
from ..store.usage_sums import Total, totals
from .budgets import Budgets
from .journal import Journal, left_behind

log = logging.getLogger("triptych.server")

# What waits is safe, and whoever looks has it flushed: often enough for servers that share budgets.
_FLUSH_EVERY = 1.0
_LONGEST_WAIT = 30.0
# Rows in one transaction; more would hold up other work.
_AT_ONCE = 200


class Meter:
    """Rows of usage, from `record` to the database. `folder` is where they wait."""

    def __init__(self, store: Store, folder: Path, server: str, budgets: Budgets) -> None:
        self._store = store
        self._folder = folder
        self._server = server
        self._budgets = budgets
        self._journal: Journal | None = None
        self._rows: list[UsageRecord] = []
        self._flushing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._whole = time.monotonic()

    @property
    def waited(self) -> float:
        """Seconds since everything was in the database, 0 if it is."""
        return 0.0 if not self._rows else time.monotonic() - self._whole

    @property
    def waiting(self) -> int:
        """Rows that are not in the database yet."""
        return len(self._rows)

    async def start(self) -> None:
        """Bring in what dead servers left, then begin. Raises StoreError, OSError."""
        self._journal = Journal(self._folder, self._server)
        for server, rows, path in left_behind(self._folder):
            if rows:
                new = await self._store.write(partial(statements.add, records=rows, server=server))
                log.info("%d rows of usage of a server that died were brought in (%d were there)", new, len(rows) - new)
            path.unlink(missing_ok=True)
        self._task = asyncio.create_task(self._keep_flushing())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        try:
            await self.flush()
        except StoreError as error:
            log.warning("%d rows of usage wait in %s for the next server: %s", self.waiting, self._folder, error)
        if self._journal is not None:
            self._journal.close(keep=bool(self._rows))
            self._journal = None

    def record(self, row: UsageRecord) -> None:
        """Keep a row of usage: in the journal, and if that cannot be written, in memory alone."""
        if self._journal is not None:
            try:
                self._journal.write(row)
            except OSError as error:
                log.error("the journal of usage cannot be written: %s", error)
        self._rows.append(row)

    # ---- what was used ----------------------------------------------------------------------------------------------

    async def spent(self, owner: str, from_day: int) -> int:
        """Nano-dollars of `owner` since a day, up to now. Raises StoreError."""
        await self._flushed()
        return await self._store.read(partial(budget_statements.spent, owner=owner, from_day=from_day))

    async def totals(self, by: Sequence[str], owner: str | None, from_day: int, to_day: int) -> list[Total]:
        """Usage of `owner` (None: of all) by some of day, owner, model and dialect, up to now. Raises StoreError."""
        await self._flushed()
        work = partial(totals, by=by, owner=owner, from_day=from_day, to_day=to_day)
        return await self._store.scan(work)

    async def page(
        self, owner: str | None, before: str | None, limit: int, model: str | None = None,
        days: tuple[int, int] | None = None,
    ) -> list[UsageRecord]:  # fmt: skip
        """Up to `limit` rows of `owner` (None: of all), the newest first; of a first to a last day. Raises
        StoreError.
        """
        await self._flushed()
        return await self._store.scan(
            partial(statements.page, owner=owner, before=before, limit=limit, model=model, days=days)
        )

    async def _flushed(self) -> None:
        """What was recorded is there when somebody looks; if the store is away, looking will say so."""
        with suppress(StoreError, OSError):
            await self.flush()

    # ---- to the database --------------------------------------------------------------------------------------------

    async def _keep_flushing(self) -> None:
        wait = _FLUSH_EVERY
        while True:
            await asyncio.sleep(wait)
            try:
                await self.flush()
                wait = _FLUSH_EVERY
            except (StoreError, OSError) as error:
                wait = min(_LONGEST_WAIT, wait * 2)
                log.warning("%d rows of usage wait for the database: %s", self.waiting, error)

    async def flush(self) -> None:
        """Bring everything that was recorded so far to the database. Raises StoreError, OSError."""
        async with self._flushing:
            if not self._rows:
                self._whole = time.monotonic()
                return
            began = time.monotonic()
            if self._journal is not None:
                self._journal.turn()
            left = len(self._rows)
            while left:
                some = self._rows[: min(left, _AT_ONCE)]
                await self._store.write(partial(statements.add, records=some, server=self._server))
                del self._rows[: len(some)]
                left -= len(some)
                self._budgets.flushed(_paid(some))
                await asyncio.sleep(0)
            self._whole = began
            if self._journal is not None:
                self._journal.drop()


def _paid(rows: Sequence[UsageRecord]) -> Mapping[tuple[str, int], int]:
    paid: defaultdict[tuple[str, int], int] = defaultdict(int)
    for row in rows:
        if row.grant_day is not None:
            paid[row.owner, row.grant_day] += row.cost_nano
    return paid
