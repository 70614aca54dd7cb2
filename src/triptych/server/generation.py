"""The one internal request: what every dialect translates to, and what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from ..engine.errors import TriptychError
from ..engine.request import SamplingParams
from ..replica.client import Picture
from ..replica.protocol import Admitted, ChatPrompt, End, ModelInfo, Piece, RawPrompt

__all__ = ["Admitted", "ChatPrompt", "End", "Generation", "ModelInfo", "Picture", "Piece", "RawPrompt", "Run"]


@dataclass(frozen=True, slots=True)
class Generation:
    """One prompt to be continued `params.n` times. `pictures` are in the order of their places in the prompt.

    Lower `priority` goes first. `request_id` is the caller's, `dialect` what it was asked in: for log and metrics.
    Where a text is `needed`, an answer without one is a failure.
    """

    request_id: str
    prompt: ChatPrompt | RawPrompt
    params: SamplingParams
    pictures: tuple[Picture, ...] = ()
    priority: int = 0
    dialect: str = "none"
    needed: bool = False


class Run(Protocol):
    """A generation under way. Iterate it for what each step added; then `end` has the exact usage.

    Iteration raises the generation's error. Whoever leaves it early calls `abort()`.
    """

    @property
    def end(self) -> End | None:
        """None until it is over."""

    async def admission(self) -> Admitted:
        """Wait until the prompt is built and queued. Raises what refuses it."""

    def __aiter__(self) -> AsyncIterator[list[Piece]]: ...

    async def final(self) -> End | None:
        """The end, also of a run that nobody iterates any more; None if nobody can tell it."""

    def abort(self) -> None: ...


class UnknownModelError(TriptychError):
    """No model is served under the name that was asked for."""


class NotSupportedError(TriptychError):
    """What serves a model cannot do what was asked of it."""


class ModelUnavailableError(TriptychError):
    """A model that is served cannot answer now; `retry_after` is in seconds. `code` tells programs why."""

    code = "model_loading"

    def __init__(self, message: str, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = min(60.0, max(1.0, retry_after))


class UpstreamUnavailableError(ModelUnavailableError):
    """The server that answers for a model cannot be reached, is overloaded, or failed."""

    code = "upstream_unavailable"


class UpstreamError(TriptychError):
    """The server that answers for a model does not work as it was set up: it refuses our key, does not have the model,
    or answers what is no answer. Asking again is of no use.
    """


class EmptyAnswerError(TriptychError):
    """A model ended its answer without a word, where a text is needed."""


class NoAnswerError(UpstreamError):
    """What answers for a model ended without saying how its text ends: nobody can tell whether that is the whole."""
