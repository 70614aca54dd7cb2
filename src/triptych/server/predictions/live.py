"""A prediction that runs here: its record as it grows, and those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from msgspec.structs import replace

from ..store.predictions import PredictionRecord
from .stored import StoredGeneration

T = TypeVar("T")

# What no element of an output may begin with: clients take such strings for files.
_NO_BEGINNING = ("https:", "data:")


class Live:
    """`stored` is the record as it is in the store; `output`, `logs` and how it began run ahead of it.

    Output that an earlier attempt delivered is expected again: it is not delivered twice.
    """

    def __init__(self, stored: PredictionRecord, generation: StoredGeneration | None = None) -> None:
        self.stored = stored
        # What it runs; None if that has to be read from the record.
        self.generation = generation
        self.output = list(stored.output)
        self.logs = stored.logs
        self.done = asyncio.Event()
        self.canceled = False
        # Why it was canceled, for the log of the prediction.
        self.reason = ""
        self.started_us = stored.started_us
        self.first_token_us = stored.first_token_us
        self.cold_us = stored.cold_us
        self.cold_phases = stored.cold_phases
        self._expected = ""
        self._changed: asyncio.Future[None] | None = None
        self._on_cancel: Callable[[], object] | None = None

    @property
    def ahead(self) -> dict[str, Any]:
        """What it has and the store may not have."""
        begun = {} if self.started_us is None or self.stored.ended else {"status": "processing"}
        return {
            **begun, "output": tuple(self.output), "logs": self.logs, "started_us": self.started_us,
            "first_token_us": self.first_token_us, "cold_us": self.cold_us, "cold_phases": self.cold_phases,
        }  # fmt: skip

    @property
    def record(self) -> PredictionRecord:
        """As it is now."""
        return replace(self.stored, **self.ahead)

    @property
    def flushed(self) -> bool:
        """Whether the store has all of it that callers see."""
        stored = self.stored
        return (len(stored.output), len(stored.logs), stored.started_us) == (
            len(self.output), len(self.logs), self.started_us,
        )  # fmt: skip

    def store(self, values: dict[str, Any]) -> None:
        """The store has `values` now."""
        stored = replace(self.stored, **values)
        self.stored = replace(stored, worker=None, due_us=None) if stored.ended else stored
        self.tell()

    def start(self, now_us: int) -> None:
        """Its model has taken it."""
        self.started_us = now_us
        self.tell()

    def retake(self, record: PredictionRecord) -> None:
        """It was claimed here while it runs here: its lease had run out, under a load too high to renew it. If nobody
        else had it meanwhile the run goes on under the new claim.
        """
        if record.attempt == self.stored.attempt + 1:
            self.stored = replace(self.stored, attempt=record.attempt, worker=record.worker)

    def log(self, line: str) -> None:
        self.logs += plain(line) + "\n"

    def begin(self) -> None:
        """A new attempt: what was delivered is expected again."""
        self._expected = "".join(self.output)

    def append(self, text: str) -> bool:
        """More output; false if it is not what an earlier attempt delivered at this place."""
        if self._expected:
            length = min(len(self._expected), len(text))
            if text[:length] != self._expected[:length]:
                return False
            self._expected, text = self._expected[length:], text[length:]
        if text:
            whole = len(text) < 2 or not text.startswith(_NO_BEGINNING)
            self.output += [text] if whole else [text[:1], text[1:]]
            self.tell()
        return True

    @property
    def repeated(self) -> bool:
        """Whether all that was delivered before has come again."""
        return not self._expected

    # ---- canceling --------------------------------------------------------------------------------------------------

    def cancel(self, reason: str, cancel_us: int | None = None) -> None:
        """It shall stop, for the first reason that there is; `cancel_us` is when the store was told."""
        self.stored = replace(self.stored, cancel_us=cancel_us or self.stored.cancel_us)
        self.reason = self.reason or reason
        self.canceled = True
        if self._on_cancel is not None:
            self._on_cancel()

    async def unless_canceled(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` gives, or None as soon as it is canceled."""
        if self.canceled:
            work.close()
            return None
        task = asyncio.current_task()
        assert task is not None
        stopped = False

        def stop() -> None:
            nonlocal stopped
            if not stopped:
                stopped = True
                task.cancel()

        self._on_cancel = stop
        try:
            done = await work
        except asyncio.CancelledError:
            if stopped and task.uncancel() == 0:  # nobody else has cancelled it
                return None
            raise
        finally:
            self._on_cancel = None
        if stopped:  # too late, or unheard: what comes next is not cancelled
            task.uncancel()
        return done

    @contextmanager
    def when_canceled(self, stop: Callable[[], object]) -> Iterator[None]:
        """`stop` is called when it is canceled meanwhile, or was before."""
        self._on_cancel = stop
        if self.canceled:
            stop()
        try:
            yield
        finally:
            self._on_cancel = None

    # ---- waiting ----------------------------------------------------------------------------------------------------

    def tell(self) -> None:
        """Something has changed."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
        self._changed = None

    def end(self) -> None:
        """It has ended, or is another's."""
        self.done.set()
        self.tell()

    async def ended(self, seconds: float) -> None:
        """Wait until it has ended, or is another's, or `seconds` have passed."""
        if self.done.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.done.wait()

    async def change(self, seconds: float) -> None:
        """Wait until something changes, or `seconds` have passed."""
        if self.done.is_set():
            return
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._changed)


def plain(text: str) -> str:
    """A text as every database takes it: one of them refuses a character that callers may send in JSON."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
