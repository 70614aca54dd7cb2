"""A model of this machine that is served: started when it is asked for, restarted when it dies, stopped when idle."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..engine.errors import TriptychError
from ..models import identify
from ..replica.client import Call, ReplicaClient, ReplicaLostError
from ..replica.process import ReplicaProcess
from ..replica.protocol import Phase, Report
from .generation import Admitted, End, Generation, ModelInfo, ModelUnavailableError, Piece

log = logging.getLogger("triptych.server")

State = Literal["stopped", "starting", "ready", "failed"]
StartReplica = Callable[["ModelSpec", Callable[[Phase], None]], ReplicaProcess]

# A request that delivered nothing is given to a new replica this often.
_TRIES = 3
# Seconds between two looks at a replica, and how long it may take to answer before it counts as hung.
_LOOK_EVERY, _HUNG_AFTER = 5.0, 30.0
_LONGEST_WAIT = 60.0


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
    pass


class ServedModel:
    """One model and its replica. Everything runs on one event loop.

    `phases` has the seconds that each phase of the last start took; `failure` is why the last start failed.
    """

    def __init__(
        self,
        spec: ModelSpec,
        start: StartReplica = start_process,
        on_phase: Callable[[str, Phase], None] = lambda name, phase: None,
        first_wait: float = 0.5,
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
        self._first_wait = first_wait
        self._process: ReplicaProcess | None = None
        self._client: ReplicaClient | None = None
        self._starting: asyncio.Task[ReplicaClient] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._failures = 0
        self._not_before = 0.0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def under_way(self) -> int:
        """Requests that have not ended."""
        return self._client.under_way if self._client is not None else 0

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights in memory: of the running replica, else what the files have."""
        if self.info is not None:
            return self.info.weight_bytes
        folder = self.spec.folder
        return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder is not None else 0

    @property
    def pid(self) -> int | None:
        return self._client.pid if self._client is not None else None

    def begin(self, generation: Generation) -> ServedRun:
        """Begin a generation; the model is started if it does not run."""
        self.last_used = time.monotonic()
        return ServedRun(self, generation)

    async def client(self) -> ReplicaClient:
        """A connection to the running replica, started if need be.

        Raises what kept the model from loading, and ModelUnavailableError while it rests after repeated failures.
        """
        if self.state == "ready" and self._client is not None:
            return self._client
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    async def _start(self) -> ReplicaClient:
        wait = self._not_before - time.monotonic()
        if wait > _LONGEST_WAIT / 4:
            raise ModelUnavailableError(f"{self.name} failed to start {self._failures} times: {self.failure}", wait)
        self.state = "starting"
        self.phases = {}
        await asyncio.sleep(max(0.0, wait))
        await self.before_start(self)
        self._process = self._start_replica(self.spec, self._phase)
        try:
            client = await self._process.start()
            self.info = await client.ready()
        except BaseException as error:
            await self._process.stop(grace=0.0)
            if isinstance(error, TriptychError):
                self._failed(str(error))
            raise
        self._client, self.state, self._failures, self.failure = client, "ready", 0, ""
        self._watching = asyncio.create_task(self._watch(client, self._process))
        return client

    def _started(self, task: asyncio.Task[ReplicaClient]) -> None:
        self._starting = None
        if not task.cancelled() and task.exception() is not None and self.state == "starting":
            self.state = "failed"

    def _phase(self, phase: Phase) -> None:
        self.phases[phase.name] = phase
        if phase.done >= phase.total:
            self._on_phase(self.name, phase)

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self.failure, self.state = reason, "failed"
        self._not_before = time.monotonic() + min(_LONGEST_WAIT, self._first_wait * 2 ** (self._failures - 1))

    async def _watch(self, client: ReplicaClient, process: ReplicaProcess) -> None:
        """Look at the replica now and then until it is lost or hangs; then it may be started again."""
        while not client.lost.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(client.lost), _LOOK_EVERY)
            if client.lost.done():
                break
            try:
                self.report = await client.report(_HUNG_AFTER)
            except TimeoutError:
                log.error("%s did not answer for %g s and is killed", self.name, _HUNG_AFTER)
                await process.stop(grace=0.0)
            except ReplicaLostError:
                break
        self._client = None
        if self.state == "ready":
            self._failed(await process.obituary())
            log.error("%s: %s", self.name, self.failure)
            await process.stop(grace=0.0)

    async def stop(self, grace: float = 10.0) -> None:
        """Let running requests finish for `grace` seconds and free the model; the next request starts it again."""
        if self._starting is not None:
            self._starting.cancel()
            with suppress(BaseException):
                await self._starting
        self.state = "stopped"
        if self._process is not None:
            await self._process.stop(grace)
        if self._watching is not None:
            await self._watching
            self._watching = None
        self._client = self._process = self.report = None


class ServedRun:
    """A generation at a served model: given to a new replica when the old one dies before it delivered anything."""

    def __init__(self, model: ServedModel, generation: Generation) -> None:
        self.end: End | None = None
        self._model = model
        self._generation = generation
        self._call: Call | None = None
        self._tries = 0
        self._aborted = False

    async def admission(self) -> Admitted:
        while True:
            self._tries += 1
            try:
                if self._call is None:
                    self._call = await self._begin()
                return await self._call.admission()
            except ReplicaLostError as lost:
                self._lost(lost)

    async def _begin(self) -> Call:
        generation = self._generation
        client = await self._model.client()
        call = client.submit(generation.prompt, generation.params, generation.pictures, generation.priority)
        if self._aborted:
            call.abort()
        return call

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        while self.end is None:
            await self.admission()
            call = self._call
            assert call is not None
            try:
                async for pieces in call:
                    yield pieces
            except ReplicaLostError as lost:
                self._lost(lost)
            else:
                self.end = call.end
            finally:
                self._model.last_used = time.monotonic()

    def _lost(self, lost: ReplicaLostError) -> None:
        """Try again with a new replica, if nothing was delivered and it was not tried often enough."""
        self._call = None
        if lost.delivered:
            raise ModelUnavailableError(f"{self._model.name} died while it was answering") from lost
        if self._tries >= _TRIES:
            raise ModelUnavailableError(f"{self._model.name} died {self._tries} times before it answered") from lost

    def abort(self) -> None:
        self._aborted = True
        if self._call is not None:
            self._call.abort()
