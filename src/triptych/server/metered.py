"""A generation whose events are counted and charged, and told to the log, whoever asked for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import fields
from typing import Any, cast, get_args

from ..engine.errors import EngineStoppedError, QueueFullError
from ..engine.request import FinishReason, Timing, Usage
from .accounts.charge import Charge
from .generation import (
    Admitted,
    EmptyAnswerError,
    End,
    Generation,
    ModelUnavailableError,
    NoAnswerError,
    Piece,
    Run,
)
from .metrics import Metrics, RequestMetrics

log = logging.getLogger("triptych.server")

# What fails by these costs nothing: the caller asks again.
_OURS = (ModelUnavailableError, QueueFullError, EngineStoppedError)
# Seconds that an aborted generation has to tell what it used.
_LAST_WORD = 30.0


class MeteredRun:
    """`run` as it is, of `generation`. `told` gets the usage and the finish reason for the line of the log; `release`
    is called at the end, whatever it is. `charge` is settled for what was used, also of what was aborted; `later` does
    work that waits for it. Iteration raises NoAnswerError if the end comes before that of every choice, and
    EmptyAnswerError if it brought no text and one is needed.
    """

    def __init__(
        self, run: Run, generation: Generation, measured: RequestMetrics, told: dict[str, Any],
        release: Callable[[], None], charge: Charge, later: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._run = run
        self._charge = charge
        self._later = later
        self._prompt_tokens = 0
        self._open = set(range(generation.params.n))
        self._wordless = generation.needed
        self._aborted = False
        self._release = release
        self._measured = measured
        self._told = told
        self._lengths: dict[int, int] = {}
        self._reason: FinishReason = "abort"
        self._ended = False

    @property
    def end(self) -> End | None:
        return self._run.end

    @property
    def cost_nano(self) -> int | None:
        """Nano-dollars, once it is over; None if it has no price."""
        return self._charge.cost_nano

    async def final(self) -> End | None:
        return await self._run.final()

    async def admission(self) -> Admitted:
        try:
            admitted = await self._run.admission()
        except Exception as error:
            self._failed(error)
            raise
        self._measured.submitted()
        self._charge.admitted(admitted)
        self._prompt_tokens = admitted.prompt_tokens or 0
        return admitted

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        try:
            async for pieces in self._run:
                self._count(pieces)
                yield pieces
            if self._open and not self._aborted:
                raise NoAnswerError(f"the model {self._told['model']} ended without an answer")
            if self._wordless and not self._aborted:
                raise EmptyAnswerError(f"the model {self._told['model']} ended its answer without a word")
        except Exception as error:
            self._failed(error)
            raise
        self._over(self._reason)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, _OURS):
            self._charge.drop()
        self._over("error")

    def _count(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            self._lengths[piece.index] = self._lengths.get(piece.index, 0) + len(piece.token_ids)
            if self._wordless and piece.text.strip():
                self._wordless = False
            if piece.finish_reason is None:
                continue
            self._open.discard(piece.index)
            if piece.index == 0:
                # An upstream may know others, such as content_filter.
                known = piece.finish_reason in get_args(FinishReason)
                self._reason = cast(FinishReason, piece.finish_reason) if known else "stop"
        self._measured.tokens(sum(len(piece.token_ids) for piece in pieces))

    def _over(self, reason: FinishReason) -> None:
        self._settle(reason)
        if self._ended:
            return
        self._ended = True
        self._release()
        end = self._run.end
        usage, timing = (end.usage, end.timing) if end is not None else (None, None)
        # Without the ids of its tokens, as some upstreams leave it, a choice's length is not known.
        self._measured.finished(reason, usage, timing, max(self._lengths.values(), default=0) or None)
        self._told["finish_reason"] = reason
        if usage is not None:
            self._told["usage"] = _sum(self._told.get("usage"), usage)

    def _settle(self, reason: FinishReason) -> None:
        """Charge what was used: at once if that is known, else when it is."""
        if self._charge.settled:
            return
        if self._run.end is not None:
            self._charge.settle(self._run.end.usage, self._run.end.timing, reason)
        elif not self._ended:
            self._later(self._settle_later(reason))

    async def _settle_later(self, reason: FinishReason) -> None:
        end = None
        try:
            async with asyncio.timeout(_LAST_WORD):
                end = await self._run.final()
        except TimeoutError:
            log.warning("a generation of %s does not say what it used", self._charge.bill.model)
        if end is not None:
            self._charge.settle(end.usage, end.timing, reason)
        elif self._lengths:  # what was delivered was computed
            written = sum(self._lengths.values())
            self._charge.settle(Usage(self._prompt_tokens, 0, 0, written), Timing(), reason)
        else:
            self._charge.drop()

    def abort(self) -> None:
        """Of a run that has ended nothing is aborted, and its end counts."""
        self._aborted = True
        self._run.abort()
        if self._run.end is None:
            self._over("abort")


def _sum(before: Usage | None, usage: Usage) -> Usage:
    """Usage over all prompts of a request."""
    if before is None:
        return usage
    return Usage(*(getattr(before, item.name) + getattr(usage, item.name) for item in fields(Usage)))


def metered(
    run: Run, generation: Generation, metrics: Metrics, told: dict[str, Any], release: Callable[[], None],
    charge: Charge, later: Callable[[Coroutine[Any, Any, None]], None],
) -> MeteredRun:
    """Begin to count a generation, as in `MeteredRun`."""
    params, model = generation.params, charge.bill.model
    measured = metrics.request_started(model, generation.dialect, params.n, params.max_tokens)
    told["model"] = model
    return MeteredRun(run, generation, measured, told, release, charge, later)
