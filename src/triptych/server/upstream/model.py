"""A served model that an upstream answers for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from ...engine.errors import TriptychError
from ...replica.protocol import Encoded, Phase
from ..backend import State
from ..generation import (
    ChatPrompt,
    Generation,
    ModelInfo,
    NotSupportedError,
    Picture,
    RawPrompt,
    UpstreamError,
    UpstreamUnavailableError,
)
from ..model_settings import Upstream
from .body import Target
from .connection import TIMES, Connection, Times
from .failure import FailedError, error_of
from .kinds import Kind, kind_of
from .run import UpstreamRun
from .tokens import Tokenizer
from .wire import Listed, models_decoder

log = logging.getLogger("triptych.server")

# Of an upstream that could not be reached requests ask again after this many seconds, not each for itself.
_REST = 1.0
# Statuses of a list of models that a server does not have, or does not show.
_UNLISTED = (403, 404, 405, 501)


class UpstreamModel:
    """One model at an OpenAI-compatible server. Everything runs on one event loop.

    Nothing is started here: it is ready until a look at the upstream's list of models says that nobody is there or that
    the key is refused.
    """

    # It takes no memory of this machine, has no process here, and what runs there tells its own metrics.
    in_memory = False
    weight_bytes = 0
    pid = None
    report = None

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        aliases: tuple[str, ...] = (),
        note: str = "",
        times: Times = TIMES,
    ) -> None:
        self.name = name
        self.aliases = aliases
        self.note = note
        self.model = upstream.model
        self.upstream: str | None = upstream.base_url
        self.info: ModelInfo | None = None
        self.last_used = time.monotonic()
        self.phases: Mapping[str, Phase] = {}
        self._settings = upstream
        self._times = times
        self._connection = Connection(upstream.base_url, upstream.key, name, times)
        self._tokenizer = Tokenizer(self._connection, upstream.model, name)
        self._kind: Kind = "openai"
        self._runs: set[UpstreamRun] = set()
        # Why no request can be answered; what last went wrong with one, until one goes well; what is odd with the list.
        self._down: TriptychError | None = None
        self._trouble = ""
        self._doubt = ""
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        return "ready" if self._down is None else "failed"

    @property
    def failure(self) -> str:
        """What is wrong with the upstream, as far as it is known."""
        return str(self._down or "") or self._trouble or self._doubt

    @property
    def under_way(self) -> int:
        """Requests that have not ended."""
        return len(self._runs)

    @property
    def kind(self) -> Kind:
        """What the settings say that the upstream is, else what it says itself."""
        return self._kind if self._settings.kind == "auto" else self._settings.kind

    # ---- requests ---------------------------------------------------------------------------------------------------

    def begin(self, generation: Generation) -> UpstreamRun:
        """Begin a generation: it is sent at once."""
        self.last_used = time.monotonic()
        run = UpstreamRun(generation, self.name, self._connection, self._target, self._over)
        self._runs.add(run)
        return run

    async def _target(self) -> Target:
        await self._look_if_needed()
        return Target(self.model, self.kind, self.info.max_context if self.info is not None else 0)

    def _over(self, run: UpstreamRun, failure: Exception | None) -> None:
        self._runs.discard(run)
        self.last_used = time.monotonic()
        if isinstance(failure, UpstreamError | UpstreamUnavailableError):
            self._trouble = self._told(self._trouble, str(failure))
        elif failure is None:
            self._trouble, self._down = "", None
            if self._kind == "triptych" and self.info is not None and not self.info.max_context:
                self._begin_look()  # another Triptych tells more of a model once that runs

    async def encode(self, prompt: ChatPrompt | RawPrompt, pictures: Sequence[Picture] = ()) -> Encoded:
        """Token ids of a prompt, as the upstream counts them. Raises NotSupportedError where it does not tell."""
        return await self._tokenizer.encode(prompt, pictures)

    async def decode(self, token_ids: list[int]) -> str:
        """The text of token ids. Raises NotSupportedError where the upstream does not tell."""
        return await self._tokenizer.decode(token_ids)

    # ---- what the upstream is ---------------------------------------------------------------------------------------

    async def ready(self) -> ModelInfo:
        """What the upstream tells of the model. Raises UpstreamUnavailableError; UpstreamError for a refused key."""
        await self._look_if_needed()
        if self._down is not None:
            raise self._down.with_traceback(None)
        assert self.info is not None
        return self.info

    async def _look_if_needed(self) -> None:
        rested = time.monotonic() - self._looked_at > _REST
        if rested if self._down is not None else self.info is None:
            await self._look()

    async def _look(self) -> None:
        """Look at the upstream's list of models; who comes meanwhile waits for the same look."""
        await asyncio.shield(self._begin_look())

    def _begin_look(self) -> asyncio.Task[None]:
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_at_list())
            self._looking.add_done_callback(self._looked)
        return self._looking

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        self._looked_at = time.monotonic()

    async def _look_at_list(self) -> None:
        try:
            told, body = await self._connection.ask(f"{self._settings.base_url}/models")
        except FailedError as failed:
            self._lose(failed.error)
            return
        if told is not None and told.status == 401:
            self._lose(error_of(told, self.name))
            return
        self._down = None
        listed, doubt = None, ""
        if told is not None and told.status not in _UNLISTED:
            doubt = f"the server that answers for {self.name} did not list its models ({told.status})"
        elif told is None:
            listed, doubt = self._find(body)
        self._doubt = self._told(self._doubt, doubt)
        # What is not told is asked of the upstream by trying.
        self._learn(listed or Listed(self.model))

    def _find(self, body: bytes) -> tuple[Listed | None, str]:
        """The model in the upstream's list, or what is wrong with that."""
        try:
            models = models_decoder.decode(body).data
        except msgspec.DecodeError:
            return None, f"the server that answers for {self.name} sent no list of models"
        for each in models:
            if self.model in (each.id, each.root, *(each.aliases or ())):
                return each, ""
        shown = ", ".join(each.id for each in models[:10]) or "none"
        return None, f"the server that answers for {self.name} does not list {self.model}; it lists {shown}"

    def _learn(self, listed: Listed) -> None:
        inputs = listed.architecture.input_modalities if listed.architecture is not None else None
        self._kind = kind_of(listed)
        self.info = ModelInfo(
            self.model, "", listed.quantization or "", "", listed.max_model_len or listed.context_length or 0,
            inputs is None or "image" in inputs, 0, 0, 0,
            defaults=listed.default_sampling or {} if self._kind == "triptych" else {},
        )  # fmt: skip

    def _lose(self, error: TriptychError) -> None:
        self._told(str(self._down or ""), str(error))
        self._down = error

    def _told(self, before: str, reason: str) -> str:
        """`reason`, in the log as well if it is news: not at every look."""
        if reason and reason != before:
            log.warning("%s: %s", self.name, reason)
        return reason

    async def _watch(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(self._times.look if self._down is None else self._times.look_again)

    # ---- begin and end ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Look at the upstream now and then, from now on."""
        self._watching = asyncio.create_task(self._watch())

    async def stop(self, grace: float = 10.0) -> None:
        """Raises NotSupportedError: others may use it."""
        raise NotSupportedError(f"{self.name} does not run on this machine; stop it where it runs, at {self.upstream}")

    async def close(self, grace: float) -> None:
        """Let running requests finish for `grace` seconds, and cut what is left."""
        await _cancelled(self._watching)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._ended()
        for run in list(self._runs):
            run.abort()
        await self._ended()
        await _cancelled(self._looking)
        await self._connection.close()

    async def _ended(self) -> None:
        await asyncio.gather(*(run.ended() for run in self._runs))


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait((task,))
