"""Writes that are asked for in one turn of the event loop, as one transaction: most of what a short one takes is its
beginning and its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

Work = Callable[[Connection], Any]
# Runs work; what it did is kept when this returns, and undone if this raises.
Transaction = Callable[[Work], Any]

# In one transaction: the event loop stands still so long.
_MOST = 64


@dataclass(frozen=True, slots=True)
class _Write:
    work: Work
    done: asyncio.Future[Any]


class Group:
    """`transaction` runs work. While `locked` says of its error that another program has the database, all that is
    asked for waits, in steps of `step` seconds, for up to `patience` seconds.
    """

    def __init__(
        self, transaction: Transaction, locked: Callable[[Exception], bool], step: float, patience: float
    ) -> None:
        self._transaction = transaction
        self._locked = locked
        self._step = step
        self._patience = patience
        self._waiting: list[_Write] = []
        self._until: float | None = None

    async def write(self, work: Work) -> Any:
        """Run `work` with what else is asked for in this turn. What it raises undoes it alone. Work that nobody waits
        for any more when its turn comes is left out.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._turn)
        write = _Write(work, loop.create_future())
        self._waiting.append(write)
        return await write.done

    def finish(self) -> None:
        """Do now what waits."""
        while self._waiting:
            self._turn(last=True)

    def _turn(self, last: bool = False) -> None:
        waiting = [write for write in self._waiting if not write.done.done()]
        writes, self._waiting = waiting[:_MOST], waiting[_MOST:]
        error = self._together(writes)
        if error is not None and self._locked(error) and not last and self._may_wait():
            self._waiting = waiting
            return
        self._until = None
        if error is not None:
            self._one_by_one(writes, error)
        if self._waiting and not last:
            asyncio.get_running_loop().call_soon(self._turn)

    def _together(self, writes: Sequence[_Write]) -> Exception | None:
        """Run some as one transaction; why none of it is kept, if so."""
        if not writes:
            return None
        try:
            results = self._transaction(lambda connection: [write.work(connection) for write in writes])
        except Exception as error:
            return error
        for write, result in zip(writes, results, strict=True):
            write.done.set_result(result)
        return None

    def _may_wait(self) -> bool:
        """Try again in a moment, unless it was tried for long enough."""
        loop = asyncio.get_running_loop()
        if self._until is None:
            self._until = loop.time() + self._patience
        if loop.time() > self._until:
            return False
        loop.call_later(self._step, self._turn)
        return True

    def _one_by_one(self, writes: Sequence[_Write], error: Exception) -> None:
        """What did not go together for this reason. A locked database has been waited for by all of them."""
        for write in writes:
            reason = error if len(writes) == 1 or self._locked(error) else self._together([write])
            if reason is not None:
                write.done.set_exception(reason)
