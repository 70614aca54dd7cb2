"""The replica's side: one engine, and the servers that are connected to it.

The event loop reads and writes frames; prompts are built on a few threads; the engine runs on its own thread and leaves
what it produces in an outbox, which the event loop empties.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any

from ..engine.errors import EngineStoppedError, TriptychError
from ..engine.request import Event, Finished, Request, SamplingParams, Usage
from . import protocol
from .connection import Connection, listen
from .pictures import PictureStore
from .session import Conversation, Session
from .spelling import Spelling, describe

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.request import Prompt

log = logging.getLogger("triptych.replica")

Progress = Callable[[int, int], None]
# (progress of files, progress of loading, what to call after each step) -> engine
MakeEngine = Callable[[Progress, Progress, Callable[[], None]], "Engine"]

PICTURE_BYTES = 256 << 20
# Progress of a phase is told this often, and the engine looked at, in seconds.
_TELL_EVERY = 0.2
_LOOK_EVERY = 0.5


class Outbox:
    """Events from the engine's thread, in order, handed to the event loop together after each step."""

    def __init__(self, empty: Callable[[list[tuple[Conversation, Event]]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._empty = empty
        self._events: list[tuple[Conversation, Event]] = []

    def put(self, conversation: Conversation, event: Event) -> None:
        self._events.append((conversation, event))

    def step_done(self) -> None:
        if self._events:
            events, self._events = self._events, []
            self._loop.call_soon_threadsafe(self._empty, events)


class Host:
    """Hosts the engine that `make_engine` builds; answers from the first moment on, while the model still loads."""

    def __init__(
        self, make_engine: MakeEngine, started: float | None = None, picture_bytes: int = PICTURE_BYTES
    ) -> None:
        self._make_engine = make_engine
        self._started = time.time() if started is None else started
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="prompts")
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = count(1)
        self._engine: Engine | None = None
        self._draining = False
        self.pictures = PictureStore(picture_bytes)
        self.sessions: set[Session] = set()
        # The latest word on every phase of the start, for servers that connect later.
        self.told: dict[str, protocol.Frame] = {}

    async def run(self, address: str, stop: asyncio.Event) -> bool:
        """Serve at `address` until `stop`; False when the model could not be loaded."""
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(self._deliver)
        server = await listen(address, self._accept)
        try:
            await asyncio.to_thread(import_module, "triptych.engine.engine")  # torch: most of the time until here
            self._tell("process", protocol.Phase("process", time.time() - self._started))
            loaded = await self._load()
            if loaded:
                await self._until(stop)
                await self._drain()
        finally:
            server.close()
            for session in list(self.sessions):
                session.connection.close()
            self._pool.shutdown(wait=False, cancel_futures=True)
            if self._engine is not None:
                await asyncio.to_thread(self._engine.close)
        return loaded

    async def _until(self, stop: asyncio.Event) -> None:
        """Wait for `stop`, or for the death of the engine's loop: a replica without an engine must not look alive."""
        while not stop.is_set() and self.ready_engine().running:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_EVERY)

    def _accept(self) -> Connection:
        session = Session(self, next(self._numbers))
        self.sessions.add(session)
        return session.connection

    # ---- the start --------------------------------------------------------------------------------------------------

    async def _load(self) -> bool:
        try:
            engine = await asyncio.to_thread(self._build)
            started = time.perf_counter()
            await asyncio.to_thread(_first_token, engine)
        except Exception as error:
            known = isinstance(error, TriptychError)
            log.error("the model could not be loaded: %s", error, exc_info=not known)
            self._tell("end", protocol.LoadFailed(protocol.failure_of(error)))
            await asyncio.sleep(0.1)  # let the servers read it
            return False
        self._tell("first_token", protocol.Phase("first_token", time.perf_counter() - started))
        self._engine = engine
        self._tell("end", protocol.Ready(describe(engine)))
        return True

    def _build(self) -> Engine:
        progress = {name: _Teller(name, self._tell_soon) for name in ("files", "load")}
        engine = self._make_engine(progress["files"], progress["load"], self._outbox.step_done)
        progress["load"].finish()
        return engine

    def _tell_soon(self, name: str, frame: protocol.Frame) -> None:
        self._loop.call_soon_threadsafe(self._tell, name, frame)

    def _tell(self, name: str, frame: protocol.Frame) -> None:
        self.told[name] = frame
        for session in self.sessions:
            session.connection.send(frame)

    async def _drain(self) -> None:
        self._draining = True
        while any(session.conversations for session in self.sessions):
            await asyncio.sleep(0.02)

    # ---- requests ---------------------------------------------------------------------------------------------------

    def ready_engine(self) -> Engine:
        """Raises EngineStoppedError while the model loads and when the replica is about to stop."""
        if self._engine is None:
            raise EngineStoppedError("the model is still loading")
        return self._engine

    def background(self, work: Any) -> None:
        """Run a coroutine that answers for itself."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def begin(self, conversation: Conversation, frame: protocol.Submit) -> None:
        """Build the prompt and put it into the engine's queue; what fails here ends the request."""
        connection = conversation.session.connection
        try:
            if self._draining:
                raise EngineStoppedError("the replica is about to stop")
            prompt, missing = await self._loop.run_in_executor(self._pool, self._prompt, frame.prompt, frame.images)
            if missing:
                conversation.session.conversations.pop(conversation.id)
                connection.send(protocol.Missing(conversation.id, missing))
                return
            assert prompt is not None
            request = Request(conversation.engine_id, prompt, frame.params, frame.priority)
            conversation.admission = protocol.Admitted(conversation.id, len(prompt.token_ids), prompt.image_tokens)
            await self._loop.run_in_executor(self._pool, self._enqueue, conversation, request)
        except Exception as error:
            self._refuse(conversation, error)
            return
        conversation.admit()
        if conversation.aborted:
            self.ready_engine().abort(conversation.engine_id)

    def _refuse(self, conversation: Conversation, error: Exception) -> None:
        if not isinstance(error, TriptychError):
            log.exception("request %s failed before it began", conversation.id, exc_info=error)
        conversation.session.conversations.pop(conversation.id, None)
        conversation.session.connection.send(
            protocol.End(conversation.id, Usage(), error=protocol.failure_of(error))
        )

    def _prompt(self, prompt: protocol.Prompt, shown: list[protocol.Shown]) -> tuple[Prompt | None, list[bytes]]:
        engine = self.ready_engine()
        images, missing = self.pictures.take(shown)
        if missing:
            return None, missing
        if isinstance(prompt, protocol.ChatPrompt):
            return engine.chat_prompt(prompt.messages, images), []
        if isinstance(prompt.text, str) and not prompt.add_bos:
            return engine.raw_prompt(engine.tokenizer.encode(prompt.text, add_bos=False), images), []
        return engine.raw_prompt(prompt.text, images), []

    def _enqueue(self, conversation: Conversation, request: Request) -> None:
        self.ready_engine().submit(request, on_event=lambda event: self._outbox.put(conversation, event))
        conversation.submitted = True

    def _deliver(self, events: Iterable[tuple[Conversation, Event]]) -> None:
        """One `Tokens` frame for all that waits of a request, then its `End` if that is there too."""
        spelling = Spelling(self.ready_engine().tokenizer)
        pieces: dict[Conversation, list[protocol.Piece]] = {}
        ends: list[tuple[Conversation, Finished]] = []
        for conversation, event in events:
            conversation.admit()
            if isinstance(event, Finished):
                ends.append((conversation, event))
            else:
                pieces.setdefault(conversation, []).append(spelling.piece(event))
        for conversation, grown in pieces.items():
            conversation.session.connection.send(protocol.Tokens(conversation.id, grown))
        for conversation, finished in ends:
            conversation.session.conversations.pop(conversation.id, None)
            conversation.session.connection.send(spelling.end(conversation.id, finished))

    # ---- questions --------------------------------------------------------------------------------------------------

    async def translate(self, frame: protocol.Encode | protocol.Decode) -> protocol.Frame:
        """Token ids of a prompt, or the text of token ids."""
        try:
            return await self._loop.run_in_executor(self._pool, self._translate, frame)
        except Exception as error:
            kind = protocol.Encoded if isinstance(frame, protocol.Encode) else protocol.Decoded
            return kind(frame.id, error=protocol.failure_of(error))

    def _translate(self, frame: protocol.Encode | protocol.Decode) -> protocol.Frame:
        tokenizer = self.ready_engine().tokenizer
        if isinstance(frame, protocol.Decode):
            return protocol.Decoded(frame.id, tokenizer.decode(frame.token_ids, skip_special=False))
        prompt, missing = self._prompt(frame.prompt, frame.images)
        if missing:
            return protocol.Missing(frame.id, missing)
        assert prompt is not None
        spelled = [tokenizer.token_text(token) or "" for token in prompt.token_ids]
        return protocol.Encoded(frame.id, list(prompt.token_ids), spelled, prompt.text, prompt.image_tokens)

    def report(self, id: str) -> protocol.Report:
        """Gauges and totals of the engine and of the pictures kept."""
        if self._engine is None:
            return protocol.Report(id, 0)
        stats = self._engine.stats()
        values = stats.counters.values() | {name: float(value) for name, value in asdict(stats.scheduler).items()}
        values |= {
            "images_cached": stats.images_cached,
            "image_bytes": stats.image_bytes,
            "pictures": len(self.pictures),
            "picture_bytes": self.pictures.nbytes,
        }
        return protocol.Report(id, stats.unfinished, values)


class _Teller:
    """A `progress(done, total)` callback that tells of a phase now and then, and of its end."""

    def __init__(self, name: str, tell: Callable[[str, protocol.Frame], None]) -> None:
        self._name = name
        self._tell = tell
        self._begun: float | None = None
        self._told = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        self._begun = now if self._begun is None else self._begun
        if done >= total or now - self._told >= _TELL_EVERY:
            self._told = now
            self._tell(self._name, protocol.Phase(self._name, now - self._begun, done, total))

    def finish(self) -> None:
        now = time.perf_counter()
        self._tell(self._name, protocol.Phase(self._name, now - (self._begun or now)))


def _first_token(engine: Engine) -> None:
    """One token of a trial, so that nobody's first request pays for what is done once."""
    token = engine.tokenizer.bos_id if engine.tokenizer.bos_id is not None else 0
    engine.submit(Request("first-token", engine.raw_prompt([token]), SamplingParams(max_tokens=1))).result()
