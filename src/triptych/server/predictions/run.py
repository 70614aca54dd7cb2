"""One attempt at a prediction, from the claim to its end."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from msgspec.structs import replace

from ...engine import errors
from ...engine.request import Timing, Usage
from ..backend import Backend
from ..exchange import unattended
from ..generation import Admitted, Generation, ModelUnavailableError, Picture, UnknownModelError
from ..metered import MeteredRun
from ..service import PictureError, Service
from ..store import predictions as statements
from ..store.ids import now_us
from ..store.predictions import PredictionRecord
from ..store.store import Store, StoreError
from ..store.webhooks import WebhookRecord
from .live import Live, plain
from .stored import read_stored

log = logging.getLogger("triptych.server")

# What is told of a prediction at an event ("start", "output", "logs" or "completed"), by its dialect's form.
Tell = Callable[[PredictionRecord, str], list[WebhookRecord]]

_FLUSH_EVERY = 0.5
# A prediction that ends sooner, and whose start nobody is told of, is written when it ends and not before.
_START_WITHIN = 0.25
# A model that cannot answer now is asked again; one whose replicas die over and over is not.
_MOST_ATTEMPTS = 3
_LONGEST_WAIT = 30.0
_LONGEST_START = 1800.0
_IMAGE_LABEL = re.compile(r"^images\[(\d+)\]: ")


class LostError(Exception):
    """Another server has the prediction by now."""


class DivergedError(errors.TriptychError):
    """A second attempt said something else than the first one had delivered."""


@dataclass(slots=True)
class PredictionRun:
    """`tell` makes the webhooks of an event; they are stored with the change that they tell of, and `told` is called.
    `used` is what this attempt has used so far, `cost` in nano-dollars what it comes to.
    """

    store: Store
    service: Service
    live: Live
    tell: Tell
    told: Callable[[], None]
    used: Usage = field(default_factory=Usage)
    cost: int | None = None
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _storing: asyncio.Task[None] | None = None

    async def work(self) -> None:
        """Run it to its end. Raises StoreError: then it is open still, and somebody takes it up again."""
        live = self.live
        try:
            await self._to_the_end()
        except LostError:
            log.warning("prediction %s is another server's by now", live.stored.id)
        finally:
            if self._storing is not None:
                self._storing.cancel()
            live.end()

    async def _to_the_end(self) -> None:
        live, waited = self.live, 1.0
        begun = time.monotonic()
        while True:
            try:
                await self._attempt()
                return
            except (ModelUnavailableError, errors.QueueFullError, errors.EngineStoppedError) as error:
                died = live.started_us is not None
                if (died and live.stored.attempt >= _MOST_ATTEMPTS) or time.monotonic() - begun > _LONGEST_START:
                    return await self._fail(error)
                live.log(f"waiting: {error}")
                await live.unless_canceled(asyncio.sleep(min(_LONGEST_WAIT, waited)))
                if live.canceled:
                    return await self._end("canceled")
                waited *= 2
                if died:  # what begins now is fenced off from what was before, and counted
                    await self._change(attempt=live.stored.attempt + 1, **self._counted())
            except (LostError, StoreError):
                raise
            except Exception as error:
                return await self._fail(error)

    async def _attempt(self) -> None:
        live, service = self.live, self.service
        record, stored = live.stored, live.generation or read_stored(live.stored.generation)
        live.begin()
        if live.canceled:
            return await self._end("canceled")
        exchange = unattended(f"/predictions/{record.id}", record.owner, record.id)
        exchange.background = False
        model = service.router.find(record.model)
        # Before anything is started or fetched for it; whether there is money is asked when it begins.
        service.accounts.check(record.owner, record.dialect, model, counted=False)
        if model.state != "ready" and model.upstream is None:
            await live.unless_canceled(self._cold_start(model))
        pictures: tuple[Picture, ...] | None = ()
        if stored.sources:
            pictures = await live.unless_canceled(service.pictures(model, stored.sources, record.owner))
        if pictures is None or live.canceled:
            return await self._end("canceled")
        generation = Generation(
            record.id, stored.prompt, stored.params, pictures, dialect=record.dialect, needed=stored.needed
        )
        run = await service.begin(model, generation, exchange, stored.called)
        try:
            admitted = await live.unless_canceled(run.admission())
            if admitted is None:
                run.abort()
                return await self._end("canceled")
            await self._started(admitted)
            await self._generate(run)
        finally:
            run.abort()

    async def _cold_start(self, model: Backend) -> None:
        """Wait for a model of this machine that does not run yet. Raises what keeps it from answering."""
        live, begun = self.live, time.monotonic()
        await self.service.ready(model)
        seconds = time.monotonic() - begun
        if live.started_us is None:  # a start in the middle is no part of the time before the first
            live.cold_us += round(seconds * 1e6)
            live.cold_phases = {name: round(phase.seconds, 6) for name, phase in model.phases.items()}
        phases = ", ".join(f"{name} {phase.seconds:.2f} s" for name, phase in model.phases.items())
        live.log(f"cold start of {model.name}, {seconds:.2f} s: {phases or 'it tells no phases'}")

    async def _started(self, admitted: Admitted) -> None:
        live, now = self.live, now_us()
        if live.started_us is not None:
            return
        waited = (now - live.stored.created_us) / 1e6
        images = f", {admitted.image_tokens} of images" if admitted.image_tokens else ""
        live.log(f"started after {waited:.3f} s: {admitted.prompt_tokens} prompt tokens{images}")
        live.start(now)
        if live.stored.webhook is not None and (self.tell(live.record, "start") or self.tell(live.record, "logs")):
            await self._change("start", "logs")

    async def _generate(self, run: MeteredRun) -> None:
        live, flushed = self.live, time.monotonic()
        late = asyncio.get_running_loop().call_later(_START_WITHIN, self._store_late)
        try:
            with live.when_canceled(run.abort):
                async for pieces in run:
                    if not live.append("".join(piece.text for piece in pieces)):
                        raise DivergedError("it was interrupted, and a second attempt gave another text")
                    live.first_token_us = live.first_token_us or now_us()
                    if time.monotonic() - flushed > _FLUSH_EVERY and not live.flushed:
                        flushed = time.monotonic()
                        await self._change("output")
        finally:
            late.cancel()
            if run.end is not None:
                self.used, self.cost = run.end.usage, run.cost_nano
                self._set_times(run.end.timing)
        if live.canceled:
            return await self._end("canceled")
        if not live.repeated:
            raise DivergedError("it was interrupted, and a second attempt gave a shorter text")
        await self._end("succeeded")

    def _set_times(self, timing: Timing) -> None:
        """The engine's own times are exact; when it began is seen here late while there is much to do, and all of a
        short text at once. What is stored may have been told, and stays.
        """
        live = self.live
        if live.started_us is None or live.stored.started_us is not None or timing.total <= 0:
            return
        began = max(live.stored.created_us, now_us() - round(timing.total * 1e6))
        live.started_us = min(live.started_us, began)
        if live.first_token_us is not None:
            live.first_token_us = min(live.first_token_us, live.started_us + round(timing.first_token * 1e6))

    def _store_late(self) -> None:
        """It takes longer: its start is written now, beside what it does."""
        if not self.live.flushed:
            self._storing = asyncio.ensure_future(self._store_start())

    async def _store_start(self) -> None:
        with suppress(LostError, StoreError):  # whoever writes next hears of it too
            await self._change()

    # ---- what is stored ---------------------------------------------------------------------------------------------

    async def _change(self, *events: str, **values: Any) -> None:
        """Store what is new, and what is to be told of it; one change after the other. Raises LostError."""
        live = self.live
        async with self._changing:
            before, values = live.stored, live.ahead | values
            after = replace(before, **values)
            told = [message for event in events for message in self.tell(after, event)]
            if not await self.store.write(partial(statements.change, record=before, webhooks=told, **values)):
                raise LostError
            if told:
                self.told()
            live.store(values)

    def _counted(self) -> dict[str, int]:
        used, self.used = self.used, Usage()
        return statements.with_usage(self.live.stored, used)

    async def _end(self, status: str, error: str | None = None, code: str | None = None) -> None:
        live = self.live
        if status == "canceled":
            live.log(live.reason or "canceled")
        elif status == "succeeded":
            live.log(f"finished: {self.used.completion_tokens} tokens")
        ended = {"status": status, "error": error, "error_code": code, "completed_us": now_us()}
        ended |= {"cost_nano": self.cost}
        await self._change("completed", **ended, **self._counted())

    async def _fail(self, error: Exception) -> None:
        if not isinstance(error, errors.TriptychError):
            log.exception("prediction %s failed", self.live.stored.id, exc_info=error)
        told = plain(_reason(error))
        self.live.log(f"failed: {told}")
        await self._end("failed", told, _code(error))


def _code(error: Exception) -> str:
    """What kind of failure it is, in a word: that of the error, or its class's name (`no_vision`)."""
    reason = error.reason if isinstance(error, PictureError) else error
    if not isinstance(reason, errors.TriptychError):
        return "internal"
    name = type(reason).__name__.removesuffix("Error")
    return getattr(reason, "code", "") or re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _reason(error: Exception) -> str:
    """What the caller is told; it is never empty."""
    if isinstance(error, PictureError):
        return f"image {error.number + 1}: {error}"
    if isinstance(error, errors.ImageError):  # from a replica, which counts as OpenAI's callers do
        return _IMAGE_LABEL.sub(lambda found: f"image {int(found[1]) + 1}: ", str(error))
    if isinstance(error, UnknownModelError):
        return f"the model is not served any more: {error}"
    if isinstance(error, errors.TriptychError):
        return str(error) or type(error).__name__
    return "an internal error; the server's log has the details"
