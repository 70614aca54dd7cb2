"""A generation whose events are counted, and told to the log, whoever asked for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from typing import Any, cast, get_args

from ..engine.request import FinishReason, Usage
from .generation import Admitted, End, Generation, NoAnswerError, Piece, Run
from .metrics import Metrics, RequestMetrics


class MeteredRun:
    """`run` as it is, of `choices`. `told` gets the usage and the finish reason for the line of the log; `release` is
    called at the end, whatever it is. Iteration raises NoAnswerError if the end comes before that of every choice.
    """

    def __init__(
        self, run: Run, choices: int, measured: RequestMetrics, told: dict[str, Any], release: Callable[[], None]
    ) -> None:
        self._run = run
        self._open = set(range(choices))
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

    async def admission(self) -> Admitted:
        try:
            admitted = await self._run.admission()
        except Exception:
            self._over("error")
            raise
        self._measured.submitted()
        return admitted

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        try:
            async for pieces in self._run:
                self._count(pieces)
                yield pieces
            if self._open and not self._aborted:
                raise NoAnswerError(f"the model {self._told['model']} ended without an answer")
        except Exception:
            self._over("error")
            raise
        self._over(self._reason)

    def _count(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            self._lengths[piece.index] = self._lengths.get(piece.index, 0) + len(piece.token_ids)
            if piece.finish_reason is None:
                continue
            self._open.discard(piece.index)
            if piece.index == 0:
                # An upstream may know others, such as content_filter.
                known = piece.finish_reason in get_args(FinishReason)
                self._reason = cast(FinishReason, piece.finish_reason) if known else "stop"
        self._measured.tokens(sum(len(piece.token_ids) for piece in pieces))

    def _over(self, reason: FinishReason) -> None:
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
    run: Run, generation: Generation, model: str, metrics: Metrics, told: dict[str, Any], release: Callable[[], None]
) -> MeteredRun:
    """Begin to count a generation of `model`."""
    params = generation.params
    measured = metrics.request_started(model, generation.dialect, params.n, params.max_tokens)
    told["model"] = model
    return MeteredRun(run, params.n, measured, told, release)
