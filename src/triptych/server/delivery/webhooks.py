"""Tells receivers what predictions have to tell: the messages of the store, at least once, in order per prediction."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ..metrics import Metrics
from ..store import webhooks as statements
from ..store.ids import now_us
from ..store.store import Store, StoreError
from ..store.webhooks import AttemptRecord, Claimed, WebhookRecord
from . import schedule, signing
from .kinds import KINDS
from .post import Poster, Reply
from .receivers import Receiver
from .webhook_secrets import WebhookSecrets

log = logging.getLogger("triptych.delivery")


@dataclass(frozen=True, slots=True)
class Pace:
    """Messages at once, to one `receiver` and to `all` of them; seconds that a claim lasts, which is longer than a try,
    between two looks at the store, for tries under way when the server stops, and between two counts of what waits.
    """

    receiver: int = 8
    all: int = 256
    lease: float = 30.0
    look: float = 2.0
    drain: float = 5.0
    count: float = 15.0


class Deliverer:
    """One per server. `clock` gives microseconds since 1970, `draw` numbers from 0 to 1 for the pauses between tries.

    A message that was claimed when a server died is sent again once its claim runs out, with the same id.
    """

    def __init__(
        self,
        store: Store,
        poster: Poster,
        metrics: Metrics,
        pace: Pace = Pace(),
        clock: Callable[[], int] = now_us,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.secrets = WebhookSecrets(store)
        self.check = poster.check
        self._store = store
        self._poster = poster
        self._metrics = metrics
        self._pace = pace
        self._clock = clock
        self._draw = draw
        self._receivers: dict[str, Receiver] = {}
        self._tasks: dict[asyncio.Task[None], WebhookRecord] = {}
        self._woken = asyncio.Event()
        self._main: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._main = [asyncio.create_task(self._look()), asyncio.create_task(self._count())]

    async def stop(self) -> None:
        """Let tries under way come to their end for a moment; leave the rest to the next server."""
        for task in self._main:
            task.cancel()
        if self._main:
            await asyncio.wait(self._main)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._pace.drain)
        left = dict(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
            with suppress(StoreError):
                await self._store.write(
                    partial(statements.unclaim, records=list(left.values()), now_us=self._clock())
                )
        await self._poster.close()

    def wake(self) -> None:
        """There is something new to tell."""
        self._woken.set()

    async def replay(self, webhook_id: str) -> WebhookRecord | None:
        """Send a message once more, under its own id; the message. Raises StoreError."""
        found = await self._store.write(
            partial(statements.replay, webhook_id=webhook_id, now_us=self._clock())
        )
        self.wake()
        return found

    # ---- what is due ------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            self._woken.clear()
            pause = self._pace.look
            try:
                pause = min(pause, await self._begin_what_is_due())
            except StoreError as error:
                log.error("webhooks cannot be looked for: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def _begin_what_is_due(self) -> float:
        """Begin all tries that there is time and room for; the seconds until the next one is due."""
        following = self._clock() + round(self._pace.look * 1e6)
        for name, due_us in await self._store.read(statements.receivers):
            receiver = self._receivers.setdefault(name, Receiver(self._pace.receiver))
            now = self._clock()
            at = max(due_us, receiver.paused_until_us)
            if at > now:
                following = min(following, at)
            elif (room := min(receiver.room(now), self._pace.all - len(self._tasks))) > 0:
                await self._claim(name, receiver, now, room)
            # else a try that ends wakes us
        now = self._clock()
        self._receivers = {name: each for name, each in self._receivers.items() if not each.idle(now)}
        return max(0.0, (following - now) / 1e6)

    async def _claim(self, name: str, receiver: Receiver, now: int, room: int) -> None:
        until = now + round(self._pace.lease * 1e6)
        claim = partial(statements.claim, receiver=name, now_us=now, until_us=until, limit=room)
        for claimed in await self._store.write(claim):
            receiver.running += 1
            task = asyncio.create_task(self._try(claimed, receiver))
            self._tasks[task] = claimed.record
            task.add_done_callback(partial(self._over, receiver))

    def _over(self, receiver: Receiver, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task)
        receiver.running -= 1
        self._woken.set()

    async def _count(self) -> None:
        while True:
            with suppress(StoreError):
                self._metrics.webhooks_waiting(await self._store.scan(statements.waiting))
            await asyncio.sleep(self._pace.count)

    # ---- one try ----------------------------------------------------------------------------------------------------

    async def _try(self, claimed: Claimed, receiver: Receiver) -> None:
        record, started, began = claimed.record, self._clock(), time.perf_counter()
        try:
            reply = await self._send(claimed, started)
            seconds = time.perf_counter() - began
            if reply.slow_down:
                receiver.failed(self._clock(), reply.asked)
            elif not reply.refused:
                receiver.answered()
            attempt = AttemptRecord(record.id, started, round(seconds * 1e6), reply.status, reply.error)
            outcome = await self._keep(record, attempt, reply)
        except StoreError as error:
            log.error("webhook %s is tried again, what came of it cannot be kept: %s", record.id, error)
            return
        except Exception:
            log.exception("webhook %s is tried again, what came of it cannot be kept", record.id)
            return
        self._metrics.webhook_tried(seconds, outcome)
        said = f": {reply.error}" if reply.error else ""
        log.info("webhook %s (%s) to %s: %s after %.2f s%s", record.id, record.event, record.receiver, outcome,
                 seconds, said)  # fmt: skip

    async def _send(self, claimed: Claimed, started: int) -> Reply:
        record = claimed.record
        body, kind = record.body.encode(), KINDS[record.kind]
        headers = {"Content-Type": kind.content_type}
        if kind.signed:
            keys = await self.secrets.of(claimed.owner)
            headers |= signing.headers(keys, record.id, started // 1_000_000, body)
        try:
            return await self._poster.post(record.url, headers, body, kind.method)
        except Exception:
            log.exception("webhook %s cannot be sent", record.id)
            return Reply(error="an internal error; the server's log has the details")

    async def _keep(self, record: WebhookRecord, attempt: AttemptRecord, reply: Reply) -> str:
        """Store a try and what it means; that in a word, for the metrics."""
        state, due_us = self._judge(record, reply)
        work = partial(
            statements.tried, record=record, attempt=attempt, state=state, due_us=due_us, gone=reply.gone
        )
        kept = await self._store.write(work)
        if reply.gone:
            log.warning("the receiver of webhook %s is gone: what waits for it is given up", record.id)
        return "retried" if kept == "waiting" else kept or "deleted"

    def _judge(self, record: WebhookRecord, reply: Reply) -> tuple[str, int | None]:
        """The state of a message after this reply, and when it is due again."""
        if reply.delivered:
            return "delivered", None
        if reply.gone or reply.refused:
            return "given_up", None
        kind = KINDS[record.kind]
        times = kind.completed if record.event == statements.COMPLETED else kind.progress
        tries = record.attempts - record.replayed + 1
        seconds = schedule.delay(times, tries, reply.asked, self._draw)
        if seconds is None:
            return "given_up", None
        return "waiting", self._clock() + round(seconds * 1e6)
