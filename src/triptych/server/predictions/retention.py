"""Forgets what predictions were asked and said, some time after they ended."""

from __future__ import annotations

import asyncio
import itertools
import logging
from functools import partial

from ..store import forgetting as statements
from ..store.ids import now_us
from ..store.store import Store, StoreError

log = logging.getLogger("triptych.server")

_SWEEP_EVERY = 60.0
# Predictions in one transaction: what is asked meanwhile does not wait for more.
_SOME = 100
# A file that no prediction reads may belong to one that is just being made.
_UNREAD_SECONDS = 6 * 3600.0
# Sweeps between two looks for those.
_UNREAD_EVERY = 60


class Retention:
    """Of one server. `seconds` after a prediction ended its input, output and logs are removed, with the files that
    were its input alone; None: never. The record stays.
    """

    def __init__(self, store: Store, seconds: float | None) -> None:
        self._store = store
        self._seconds = seconds
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait((self._sweeper,))

    async def _sweep(self) -> None:
        for number in itertools.count():
            try:
                if count := await self.remove():
                    log.info("the data of %d predictions were removed", count)
                if number % _UNREAD_EVERY == 0:
                    await self.expire_unread()
            except StoreError as error:
                log.error("the data of old predictions cannot be removed: %s", error)
            await asyncio.sleep(_SWEEP_EVERY)

    async def remove(self) -> int:
        """Remove what is old enough now; of how many predictions that was. Raises StoreError."""
        if self._seconds is None:
            return 0
        now, count = now_us(), 0
        work = partial(
            statements.remove_data, before_us=now - round(self._seconds * 1e6), now_us=now, limit=_SOME
        )
        while some := await self._store.write(work):
            count += some
            await asyncio.sleep(0)
        return count

    async def expire_unread(self) -> int:
        """Let go of input files whose predictions never came about; how many. Raises StoreError."""
        now = now_us()
        ids = await self._store.scan(
            partial(statements.unread_inputs, before_us=now - round(_UNREAD_SECONDS * 1e6))
        )
        for start in range(0, len(ids), _SOME):
            await self._store.write(partial(statements.expire_inputs, ids=ids[start : start + _SOME], now_us=now))
        return len(ids)


async def purge(store: Store, owner: str | None, before_us: int) -> int:
    """Delete all that is kept of predictions of `owner` (None: of all) that ended before `before_us`; how many. Those
    with webhooks that wait stay. Raises StoreError.
    """
    count = 0
    work = partial(statements.purge, owner=owner, before_us=before_us, now_us=now_us(), limit=_SOME)
    while some := await store.write(work):
        count += some
        await asyncio.sleep(0)
    return count
