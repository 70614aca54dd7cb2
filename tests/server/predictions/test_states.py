"""The state machine of predictions under any order of what two workers, callers and time do to it."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from databases import sqlite_in
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from triptych.server.store import leases
from triptych.server.store import predictions as statements
from triptych.server.store.predictions import ENDED, PredictionRecord
from triptych.server.store.store import open_store

WORKERS = ("one", "two")
ALLOWED = {
    "starting": {"starting", "processing", *ENDED},
    "processing": {"processing", *ENDED},
    **{status: {status} for status in ENDED},
}


class States(RuleBasedStateMachine):
    """One prediction in a real database; time is a number that only grows."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.store = self.loop.run_until_complete(open_store(sqlite_in(Path(self.folder.name)), None))
        self.now = 1_000
        self.held: dict[str, PredictionRecord] = {}
        self.endings = 0

    def teardown(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.close()
        self.folder.cleanup()

    def write(self, work: Any) -> Any:
        return self.loop.run_until_complete(self.store.write(work))

    def stored(self) -> PredictionRecord:
        record = self.write(lambda connection: statements.get(connection, "p"))
        assert record is not None
        return record

    @initialize()
    def create(self) -> None:
        record = PredictionRecord(
            id="p", owner="", dialect="test", model="m", generation="{}", created_us=self.now, stream_token="t",
            due_us=self.now,
        )  # fmt: skip
        self.write(lambda connection: statements.add(connection, record))
        self.seen = self.stored()

    @rule(worker=st.sampled_from(WORKERS), lease=st.integers(1, 50))
    def claim(self, worker: str, lease: int) -> None:
        before = self.stored()
        taken = self.write(
            lambda connection: leases.claim(connection, worker, "m", self.now, self.now + lease, 5)
        )
        free = before.due_us is not None and before.due_us <= self.now
        assert len(taken) == int(free)
        if taken:
            assert taken[0].attempt == before.attempt + 1
            self.held[worker] = taken[0]

    @rule(passed=st.integers(0, 60))
    def time_passes(self, passed: int) -> None:
        self.now += passed

    @rule(worker=st.sampled_from(WORKERS), text=st.text(max_size=3), end=st.sampled_from((None, *ENDED)))
    def work(self, worker: str, text: str, end: str | None) -> None:
        if (record := self.held.get(worker)) is None:
            return
        before = self.stored()
        mine = (before.worker, before.attempt) == (worker, record.attempt) and not before.ended
        output = (*before.output, text) if mine else ("never",)
        values = {"status": end or "processing", "output": output, **({"completed_us": self.now} if end else {})}
        done = self.write(lambda connection: statements.change(connection, record, (), **values))
        assert done == mine, "a worker without the claim changed it, or one with it could not"
        self.endings += done and end is not None

    @rule(worker=st.sampled_from(WORKERS), lease=st.integers(1, 50))
    def renew(self, worker: str, lease: int) -> None:
        self.write(lambda connection: leases.renew(connection, worker, ["p"], self.now + lease))

    @rule()
    def cancel(self) -> None:
        self.write(lambda connection: statements.ask_to_cancel(connection, "p", self.now))

    @rule(worker=st.sampled_from((None, *WORKERS)))
    def release(self, worker: str | None) -> None:
        self.write(lambda connection: leases.release(connection, worker))

    @invariant()
    def nothing_goes_back(self) -> None:
        if not hasattr(self, "seen"):
            return
        before, after = self.seen, self.stored()
        assert after.status in ALLOWED[before.status]
        assert after.output[: len(before.output)] == before.output, "output was taken back"
        assert after.attempt >= before.attempt
        assert self.endings <= 1
        assert after.ended == (after.due_us is None) == (self.endings == 1)
        if before.ended:
            assert after == before
        if before.cancel_us is not None:
            assert after.cancel_us == before.cancel_us
        self.seen = after


States.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
test_any_order = States.TestCase
