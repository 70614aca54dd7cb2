"""One attempt at a prediction, from the claim to its end."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ...engine import errors
from ...engine.request import Usage
from ..exchange import unattended
from ..generation import Generation, ModelUnavailableError, Run, UnknownModelError
from ..service import PictureError, Service
from ..store import predictions as statements
from ..store.ids import now_us
from ..store.predictions import PredictionRecord
from ..store.store import Store
from ..store.webhooks import WebhookRecord
from .live import Live
from .stored import read_stored

log = logging.getLogger("triptych.server")

# What is told of a prediction at an event ("start", "output", "logs" or "completed"), by its dialect's form.
Tell = Callable[[PredictionRecord, str], list[WebhookRecord]]

_FLUSH_EVERY = 0.5
# A model that cannot answer now is asked again; one whose replicas die over and over is not.
_MOST_ATTEMPTS = 3
_LONGEST_WAIT = 30.0
_LONGEST_START = 1800.0


class LostError(Exception):
    """Another server has the prediction by now."""


class DivergedError(errors.TriptychError):
    """A second attempt said something else than the first one had delivered."""


@dataclass(slots=True)
class PredictionRun:
    """`tell` makes the webhooks of an event; they are stored with the change that they tell of, and `told` is called.
    `used` is what this attempt has used so far.
    """

    store: Store
    service: Service
    live: Live
    tell: Tell
    told: Callable[[], None]
    used: Usage = field(default_factory=Usage)

    async def work(self) -> None:
        """Run it to its end. Raises StoreError: then it is open still, and somebody takes it up again."""
        live = self.live
        try:
            await self._to_the_end()
        except LostError:
            log.warning("prediction %s is another server's by now", live.stored.id)
        finally:
            live.end()

    async def _to_the_end(self) -> None:
        live, waited = self.live, 1.0
        begun = time.monotonic()
        while True:
            try:
                await self._attempt()
                return
            except (ModelUnavailableError, errors.QueueFullError, errors.EngineStoppedError) as error:
                died = live.stored.status == "processing"
                if (died and live.stored.attempt >= _MOST_ATTEMPTS) or time.monotonic() - begun > _LONGEST_START:
                    return await self._fail(error)
                live.log(f"waiting: {error}")
                if await self._canceled_within(min(_LONGEST_WAIT, waited)):
                    return await self._end("canceled")
                waited *= 2
                if died:  # what begins now is fenced off from what was before, and counted
                    await self._change(attempt=live.stored.attempt + 1, **self._counted())
            except LostError:
                raise
            except Exception as error:
                return await self._fail(error)

    async def _attempt(self) -> None:
        live, service = self.live, self.service
        record, stored = live.stored, read_stored(live.stored.generation)
        if live.cancel.is_set():
            return await self._end("canceled")
        live.begin()
        exchange = unattended(f"/predictions/{record.id}", record.owner)
        exchange.background = False
        model = service.router.find(record.model)
        cold = model.state != "ready"
        preparing = asyncio.ensure_future(service.pictures(model, stored.sources, record.owner))
        pictures = await self._unless_canceled(preparing)
        if pictures is None:
            return await self._end("canceled")
        generation = Generation(record.id, stored.prompt, stored.params, pictures, dialect=record.dialect)
        run = service.begin(model, generation, exchange)
        try:
            admitted = await self._unless_canceled(asyncio.ensure_future(run.admission()))
            if admitted is None:
                run.abort()
                return await self._end("canceled")
            if cold and model.phases:
                phases = ", ".join(f"{name} {phase.seconds:.2f} s" for name, phase in model.phases.items())
                live.log(f"cold start of {model.name}: {phases}")
            await self._started(admitted.prompt_tokens, admitted.image_tokens)
            await self._generate(run)
        finally:
            run.abort()

    async def _unless_canceled(self, work: asyncio.Future[Any]) -> Any:
        """What `work` gives, or None when the prediction is canceled before."""
        canceled = asyncio.ensure_future(self.live.cancel.wait())
        try:
            await asyncio.wait((work, canceled), return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            for task in (work, canceled):
                task.cancel()

    async def _started(self, prompt_tokens: int, image_tokens: int) -> None:
        live, now = self.live, now_us()
        if live.stored.status == "starting":
            waited = (now - live.stored.created_us) / 1e6
            images = f", {image_tokens} of images" if image_tokens else ""
            live.log(f"started after {waited:.3f} s: {prompt_tokens} prompt tokens{images}")
            await self._change("start", "logs", status="processing", started_us=now)

    async def _generate(self, run: Run) -> None:
        live, flushed = self.live, time.monotonic()
        watching = asyncio.create_task(self._abort_when_canceled(run))
        try:
            async for pieces in run:
                if not live.append("".join(piece.text for piece in pieces)):
                    raise DivergedError("it was interrupted, and a second attempt gave another text")
                live.first_token_us = live.first_token_us or now_us()
                if time.monotonic() - flushed > _FLUSH_EVERY and not live.flushed:
                    flushed = time.monotonic()
                    await self._change("output", first_token_us=live.first_token_us)
        finally:
            watching.cancel()
            if run.end is not None:
                self.used = run.end.usage
        if live.cancel.is_set():
            return await self._end("canceled")
        if not live.repeated:
            raise DivergedError("it was interrupted, and a second attempt gave a shorter text")
        await self._end("succeeded")

    async def _abort_when_canceled(self, run: Run) -> None:
        await self.live.cancel.wait()
        run.abort()

    async def _canceled_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.live.cancel.wait()
        return self.live.cancel.is_set()

    # ---- what is stored ---------------------------------------------------------------------------------------------

    async def _change(self, *events: str, **values: Any) -> None:
        """Store what is new, and what is to be told of it. Raises LostError."""
        live = self.live
        before = live.stored
        values |= {"output": tuple(live.output), "logs": live.logs}
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
        await self._change("completed", **ended, first_token_us=live.first_token_us, **self._counted())

    async def _fail(self, error: Exception) -> None:
        if not isinstance(error, errors.TriptychError):
            log.exception("prediction %s failed", self.live.stored.id, exc_info=error)
        told = _reason(error)
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
    if isinstance(error, UnknownModelError):
        return f"the model is not served any more: {error}"
    if isinstance(error, errors.TriptychError):
        return str(error) or type(error).__name__
    return "an internal error; the server's log has the details"
