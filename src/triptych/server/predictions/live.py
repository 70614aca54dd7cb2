"""A prediction that runs here: its record as it grows, and those who wait for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..store.predictions import ENDED, PredictionRecord

# What no element of an output may begin with: clients take such strings for files.
_NO_BEGINNING = ("https:", "data:")


class Live:
    """`stored` is the record as it is in the store; `output` and `logs` run ahead of it.

    Output that an earlier attempt delivered is expected again: it is not delivered twice.
    """

    def __init__(self, stored: PredictionRecord) -> None:
        self.stored = stored
        self.output = list(stored.output)
        self.logs = stored.logs
        self.done = asyncio.Event()
        self.cancel = asyncio.Event()
        # Why it was canceled, for the log of the prediction.
        self.reason = ""
        self.first_token_us = stored.first_token_us
        self._expected = ""
        self._changed: asyncio.Future[None] | None = None

    @property
    def record(self) -> PredictionRecord:
        """As it is now."""
        return replace(self.stored, output=tuple(self.output), logs=self.logs)

    @property
    def flushed(self) -> bool:
        """Whether the store has all of it."""
        return len(self.stored.output) == len(self.output) and len(self.stored.logs) == len(self.logs)

    def store(self, values: dict[str, Any]) -> None:
        """The store has `values` now."""
        if values.get("status") in ENDED:
            values = {**values, "worker": None, "due_us": None}
        self.stored = replace(self.stored, **values)
        self.tell()

    def retake(self, record: PredictionRecord) -> None:
        """It was claimed here while it runs here: its lease had run out, under a load too high to renew it. If nobody
        else had it meanwhile the run goes on under the new claim.
        """
        if record.attempt == self.stored.attempt + 1:
            self.stored = replace(self.stored, attempt=record.attempt, worker=record.worker)

    def log(self, line: str) -> None:
        self.logs += line + "\n"

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

    async def change(self, seconds: float) -> None:
        """Wait until something changes, or `seconds` have passed."""
        if self.done.is_set():
            return
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._changed)
