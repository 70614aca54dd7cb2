"""What the server uses of a served model, whatever answers for it: a replica of this machine or another server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from ..replica.protocol import Encoded, Phase, Report
from .generation import ChatPrompt, Generation, ModelInfo, Picture, RawPrompt, Run

State = Literal["stopped", "starting", "ready", "failed"]


class Backend(Protocol):
    """One served model. Everything runs on one event loop."""

    @property
    def name(self) -> str:
        """What callers write, and what answers, log and metrics show."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names that callers may use."""

    @property
    def model(self) -> str:
        """What runs: an embedded name, a folder, a hub id, or the name that an upstream has for it."""

    @property
    def note(self) -> str:
        """What lists say about it, "" for nothing."""

    @property
    def upstream(self) -> str | None:
        """The address of the server that answers for it; None for a model of this machine."""

    @property
    def state(self) -> State: ...

    @property
    def info(self) -> ModelInfo | None:
        """What was last known of what runs; None before the first start."""

    @property
    def failure(self) -> str:
        """Why it does not answer as it should, "" when all is well."""

    @property
    def under_way(self) -> int:
        """Requests that have not ended."""

    @property
    def last_used(self) -> float:
        """When a request last began or ended, as `time.monotonic` counts."""

    @property
    def in_memory(self) -> bool:
        """Whether it takes memory of this machine; only such a model is ever stopped to save some."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights on this machine."""

    @property
    def pid(self) -> int | None:
        """The process that answers, if it is one of this machine."""

    @property
    def phases(self) -> Mapping[str, Phase]:
        """The seconds that each phase of the last start took."""

    @property
    def report(self) -> Report | None:
        """Gauges and totals of what runs, if it tells any."""

    def begin(self, generation: Generation) -> Run:
        """Begin a generation; the model is started if it does not run."""

    async def ready(self) -> ModelInfo:
        """What runs, started if need be. Raises what keeps it from answering."""

    async def encode(self, prompt: ChatPrompt | RawPrompt, pictures: Sequence[Picture] = ()) -> Encoded:
        """Token ids of a prompt, pictures expanded. Raises what is wrong with it, NotSupportedError."""

    async def decode(self, token_ids: list[int]) -> str:
        """The text of token ids, special tokens spelled out. Raises NotSupportedError."""

    async def open(self) -> None:
        """Called when the server starts: begin what goes on without requests. Starts no model."""

    async def stop(self, grace: float = 10.0) -> None:
        """Let running requests finish for `grace` seconds and free the model. Raises NotSupportedError where that is
        not this server's to decide.
        """

    async def close(self, grace: float) -> None:
        """The server ends: running requests get `grace` seconds, and nothing is left behind."""


# What a name says of a model that has not run yet.
_SEEING = ("llava", "vision", "-vl")


def sees(model: Backend) -> bool:
    """Whether a model takes images: by what runs, or before its first start by its names."""
    if model.info is not None:
        return model.info.vision
    names = " ".join((model.name, model.model, *model.aliases)).lower()
    return any(part in names for part in _SEEING)
