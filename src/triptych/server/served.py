"""A model of this machine that is served: started when it is asked for, restarted when it dies, stopped when idle."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine.errors import TriptychError
from ..models import identify
from ..replica.client import ReplicaClient, ReplicaLostError
from ..replica.process import ReplicaProcess
from ..replica.protocol import Encoded, Phase, Report
from .backend import State
from .generation import ChatPrompt, Generation, ModelInfo, ModelUnavailableError, Picture, RawPrompt
from .served_run import ServedRun

log = logging.getLogger("triptych.server")

StartReplica = Callable[["ModelSpec", Callable[[Phase], None]], ReplicaProcess]

_LONGEST_WAIT = 60.0
# Seconds that a replica whose connection broke has to end by itself.
_LAST_WORDS = 1.0


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds: after a first failure (the next ones wait twice as long each), until a new process must have opened its
    socket, between two looks at a replica, and until one that does not answer counts as hung.
    """

    first: float = 0.5
    connect: float = 60.0
    look: float = 5.0
    hung: float = 30.0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is served under `name` (and `aliases`): `model` is an embedded name, a folder or a hub id.

    `options` are fields of `EngineConfig`; `note` labels a demonstration model in lists.
    """

    name: str
    model: str
    aliases: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def folder(self) -> Path | None:
        """Where the files are, if they are here already."""
        try:
            return identify(self.model).folder
        except TriptychError:
            return None


def start_process(spec: ModelSpec, on_phase: Callable[[Phase], None]) -> ReplicaProcess:
    """The replica of `spec` as a child process."""
    return ReplicaProcess(spec.model, {"name": spec.name, **spec.options}, on_phase)


async def _at_once(model: ServedModel) -> None:
    """What is awaited before a start when nothing has to be."""


class ServedModel:
    """One model and its replica. Everything runs on one event loop.

    `phases` has the seconds that each phase of the last start took; `failure` is why the last replica failed.
    """

    def __init__(
        self,
        spec: ModelSpec,
        start: StartReplica = start_process,
        on_phase: Callable[[str, Phase], None] = lambda name, phase: None,
        waits: Waits = Waits(),
    ) -> None:
        self.spec = spec
        self.state: State = "stopped"
        self.info: ModelInfo | None = None
        self.phases: dict[str, Phase] = {}
        self.failure: str = ""
        self.report: Report | None = None
        self.last_used = time.monotonic()
        # Awaited before each start; the router makes room for the model with it.
        self.before_start: Callable[[ServedModel], Awaitable[None]] = _at_once
        self._start_replica = start
        self._on_phase = on_phase
        self._waits = waits
        self._process: ReplicaProcess | None = None
        self._client: ReplicaClient | None = None
        self._starting: asyncio.Task[ReplicaClient] | None = None
        self._watching: asyncio.Task[None] | None = None
        # Held by whoever starts, stops or clears away the replica: there is never more than one.
        self._changing = asyncio.Lock()
        self._failures = 0
        self._not_before = 0.0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def aliases(self) -> tuple[str, ...]:
        return self.spec.aliases

    @property
    def model(self) -> str:
        return self.spec.model

    @property
    def note(self) -> str:
        return self.spec.note

    @property
    def upstream(self) -> str | None:
        """None: it runs here."""
        return None

    @property
    def under_way(self) -> int:
        """Requests that have not ended."""
        return self._client.under_way if self._client is not None else 0

    @property
    def in_memory(self) -> bool:
        """Whether there is a replica, also one that loads or ends."""
        return self._process is not None

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights in memory: of the last replica, else what the files have."""
        if self.info is not None:
            return self.info.weight_bytes
        folder = self.spec.folder
        return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder is not None else 0

    @property
    def pid(self) -> int | None:
        return self._client.pid if self._client is not None else None

    def begin(self, generation: Generation) -> ServedRun:
        """Begin a generation; the model is started if it does not run."""
        return ServedRun(self, generation)

    async def ready(self) -> ModelInfo:
        """What runs, started if need be. Raises what keeps it from answering."""
        await self.client()
        assert self.info is not None
        return self.info

    async def encode(self, prompt: ChatPrompt | RawPrompt, pictures: Sequence[Picture] = ()) -> Encoded:
        """Token ids of a prompt, pictures expanded. Raises what is wrong with it."""
        return await (await self.client()).encode(prompt, pictures)

    async def decode(self, token_ids: list[int]) -> str:
        """The text of token ids, special tokens spelled out."""
        return await (await self.client()).decode(token_ids)

    async def client(self) -> ReplicaClient:
        """A connection to the running replica, started if need be.

        Raises what kept the model from loading, and ModelUnavailableError while it rests after repeated failures.
        """
        self.last_used = time.monotonic()
        if self.state == "ready" and self._client is not None and not self._client.lost.done():
            return self._client
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        starting = self._starting
        await asyncio.wait((starting,))  # whoever waits may be cancelled; the start goes on
        if starting.cancelled():
            raise ModelUnavailableError(f"the model {self.name} was stopped while it started")
        return starting.result()

    # ---- start and end ----------------------------------------------------------------------------------------------

    async def _start(self) -> ReplicaClient:
        async with self._changing:
            if self._client is not None and self._client.lost.done():
                await self._bury(self._client.lost.result())
            await self._clear()  # what a stop left that was broken off
            wait = self._not_before - time.monotonic()
            if wait > _LONGEST_WAIT / 4:
                told = f"the model {self.name} failed {self._failures} times: {self.failure}"
                raise ModelUnavailableError(told, wait)
            self.state, self.phases = "starting", {}
            await asyncio.sleep(max(0.0, wait))
            await self.before_start(self)
            self._process = process = self._start_replica(self.spec, self._phase)
            try:
                async with asyncio.timeout(self._waits.connect):
                    client = await process.start()
                self._watching = asyncio.create_task(self._watch(client, process))
                self.info = await client.ready()
            except (ReplicaLostError, TimeoutError) as lost:
                await self._bury(str(lost) or "its process did not open its socket in time")
                raise ModelUnavailableError(f"the model {self.name} did not start: {self.failure}") from lost
            except BaseException as error:
                await self._clear()
                if isinstance(error, Exception):
                    self._failed(str(error))
                raise
            self._client, self.state, self._failures, self.failure = client, "ready", 0, ""
            self.last_used = time.monotonic()
            return client

    def _started(self, task: asyncio.Task[ReplicaClient]) -> None:
        self._starting = None
        if not task.cancelled() and task.exception() is not None and self.state == "starting":
            self.state = "stopped"  # it was no failure of the model: there was no room for it

    def _phase(self, phase: Phase) -> None:
        self.phases[phase.name] = phase
        if phase.done >= phase.total:
            self._on_phase(self.name, phase)

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self.failure, self.state = reason, "failed"
        self._not_before = time.monotonic() + min(_LONGEST_WAIT, self._waits.first * 2 ** (self._failures - 1))
        log.error("%s: %s", self.name, reason)

    async def _watch(self, client: ReplicaClient, process: ReplicaProcess) -> None:
        """Look at the replica now and then, from its connection on, until it is lost; one that hangs is killed."""
        while not client.lost.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(client.lost), self._waits.look)
            try:
                self.report = await client.report(self._waits.hung)
            except TimeoutError:
                log.error("%s did not answer for %g s and is killed", self.name, self._waits.hung)
                await process.stop(grace=0.0)
            except ReplicaLostError:
                break
        async with self._changing:
            if self._process is process:
                await self._bury(await client.lost)

    async def _bury(self, reason: str) -> None:
        """Clear away a replica that was lost; how it ended is the failure, or `reason` if it did not end."""
        assert self._process is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                reason = await self._process.obituary()
        await self._clear()
        self._failed(reason)

    async def _clear(self) -> None:
        process, self._process = self._process, None
        self._client = self.report = None
        if process is not None:
            await process.stop(grace=0.0)

    async def open(self) -> None:
        """Nothing goes on without requests: a model starts when it is asked for."""

    async def close(self, grace: float) -> None:
        """The server ends."""
        await self.stop(grace)

    async def stop(self, grace: float = 10.0) -> None:
        """Let running requests finish for `grace` seconds and free the model; the next request starts it again."""
        self.state = "stopped"
        watching = self._watching
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait((self._starting,))
        async with self._changing:
            if self._process is not None:
                await self._process.stop(grace)
            self._process = self._client = self.report = None
        if watching is not None:
            await asyncio.wait((watching,))
