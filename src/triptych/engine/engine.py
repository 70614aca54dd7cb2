"""One model on one device, ready to answer: the engine other parts of Triptych talk to."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from collections.abc import Sequence as Many
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch

from .active import ActiveChoice, ActiveRequest
from .checkpoints.checkpoint import ModelConfig
from .checkpoints.loader import load_model
from .config import BLOCK_SIZE, EngineConfig
from .counters import Counters
from .embeddings import EmbeddingCache
from .errors import ContextOverflowError, EngineStoppedError, ParameterError, QueueFullError
from .handle import EventCallback, RequestHandle
from .imaging.images import ImageInput
from .imaging.pixels import Intake, NoPictures, PixelStore
from .imaging.preprocess import Preprocessor
from .loop import Abort, Close, EngineLoop, Mailbox, Submit
from .machine import Machine
from .ops.attention import KVCache
from .ops.threads import configure_threads
from .prompting.prompt import PromptBuilder
from .prompting.tokenizer import Detokenizer, Tokenizer
from .request import Prompt, Request
from .runner import Runner
from .sampling.grammar import GrammarCompiler
from .sampling.output import TextStream
from .sampling.sampler import Sampler, SamplingRow
from .scheduling.kv_cache import BlockManager
from .scheduling.scheduler import Scheduler, SchedulerLimits, SchedulerStats
from .sequence import Sequence
from .sizing import Sizing, resolve

log = logging.getLogger("triptych.engine")

# Packing this much takes a fraction of a second, which is not worth computing differently for a while.
PACK_AT_ONCE = 256 << 20

ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What runs where; bytes are of memory on the device."""

    model: str
    architecture: str
    precision: str
    device: str
    max_context: int
    vision: bool
    weight_bytes: int
    kv_tokens: int
    vocab: int


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot of queues, caches and totals."""

    counters: Counters
    scheduler: SchedulerStats
    unfinished: int
    images_cached: int
    image_bytes: int


class Engine:
    """Loads the model of `config` and answers requests on a thread of its own.

    `progress(done, total)` is told the bytes of weights read. `on_turn` is called on the engine's thread after each
    step, when all its events are delivered: who forwards them elsewhere can do so in one go. Raises what loading
    raises: `CheckpointError`, `UnsupportedModelError`, `MemoryBudgetError`, `ParameterError`. Close it, or use it as a
    context manager.
    """

    def __init__(
        self,
        config: EngineConfig,
        progress: ProgressCallback | None = None,
        on_turn: Callable[[], None] | None = None,
    ) -> None:
        self.config = config
        self._on_turn = on_turn or (lambda: None)
        self.model_config = ModelConfig.from_folder(config.model)
        self.sizing: Sizing = resolve(config, self.model_config, Machine.probe(config.device))
        self.tokenizer = Tokenizer.from_folder(config.model)
        self.preprocessor: Preprocessor | None = None
        if self.model_config.vision is not None:
            self.preprocessor = Preprocessor.from_folder(
                config.model, self.model_config, mode=config.preprocess
            )
        self.prompts = PromptBuilder.from_folder(
            config.model,
            self.tokenizer,
            self.preprocessor,
            self.model_config,
            self.sizing.max_context,
            config.chat_template,
        )
        self._grammars = GrammarCompiler(
            self.tokenizer.backend, self.model_config.text.vocab, self.model_config.eos_ids
        )
        self._sampler = Sampler(
            self.model_config.text.vocab, eos_ids=self.model_config.eos_ids, banned=self._never_sampled()
        )
        self._mailbox = Mailbox()
        self._unfinished: set[str] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._loop = self._start(progress)
        self.info = self._describe()

    def _start(self, progress: ProgressCallback | None) -> EngineLoop:
        """Loads on the engine's thread: libgomp keeps a team of threads for each thread that computes."""
        ready: Future[EngineLoop] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready, progress), name="engine", daemon=True)
        self._thread.start()
        return ready.result()

    def _run(self, ready: Future[EngineLoop], progress: ProgressCallback | None) -> None:
        with torch.inference_mode():
            try:
                configure_threads(self.config.threads)
                loop = self._build_loop(progress)
            except BaseException as error:
                ready.set_exception(error)
                return
            ready.set_result(loop)
            reason = "the engine was closed while this request was under way"
            try:
                loop.run()
            except Exception as error:
                log.exception("the engine's loop died")
                reason = f"the engine's loop died of {type(error).__name__}: {error}; start it again"
            with self._lock:
                self._closed = True
            loop.stop(reason)
            loop.runner.pixels.close()

    def _build_loop(self, progress: ProgressCallback | None) -> EngineLoop:
        sizing, text = self.sizing, self.model_config.text
        device = torch.device(sizing.device)
        model = load_model(
            self.config.model,
            self.model_config,
            sizing.precision,
            device,
            compute_dtype=getattr(torch, sizing.compute_dtype),
            progress=progress,
            cache_dir=self.config.cache_dir,
            pack=sizing.weight_bytes < PACK_AT_ONCE,
        )
        embeddings = EmbeddingCache(self.config.image_memory)
        blocks = BlockManager(
            sizing.kv_blocks,
            BLOCK_SIZE,
            root_key=f"{self.config.model.resolve()}:{sizing.precision}".encode(),
            prefix_cache=self.config.prefix_cache,
        )
        limits = SchedulerLimits(
            token_budget=sizing.token_budget,
            chunk_while_decoding=sizing.chunk_while_decoding,
            max_rows=self.config.max_rows,
            tile_budget=sizing.tile_budget,
            max_waiting=self.config.max_waiting,
            max_context=sizing.max_context,
        )
        cache = KVCache(
            text.layers,
            sizing.kv_blocks * BLOCK_SIZE,
            text.kv_heads,
            text.head_dim,
            getattr(torch, sizing.compute_dtype),
            device,
        )
        pixels = PixelStore(self.preprocessor or NoPictures())
        runner = Runner(model, cache, embeddings, pixels, self.preprocessor, device)
        return EngineLoop(
            runner=runner,
            scheduler=Scheduler(blocks, limits, embeddings),
            sampler=self._sampler,
            intake=Intake(pixels, self._mailbox.wake),
            mailbox=self._mailbox,
            on_turn=self._on_turn,
        )

    def _never_sampled(self) -> tuple[int, ...]:
        """Rows that only fill the vocabulary up, and the image and padding tokens: never trained."""
        banned = set(range(self.tokenizer.vocab_size, self.model_config.text.vocab))
        for token in (self.model_config.image_token_id, self.tokenizer.pad_id):
            if token is not None and token not in self.model_config.eos_ids:
                banned.add(token)
        return tuple(sorted(banned))

    def _describe(self) -> EngineInfo:
        config, sizing = self.model_config, self.sizing
        return EngineInfo(
            model=self.config.model_name,
            architecture=config.architecture,
            precision=sizing.precision,
            device=sizing.device,
            max_context=sizing.max_context,
            vision=config.vision is not None,
            weight_bytes=self._loop.runner.model.nbytes,
            kv_tokens=sizing.kv_blocks * BLOCK_SIZE,
            vocab=config.text.vocab,
        )

    def chat_prompt(self, messages: Many[dict[str, Any]], images: Many[ImageInput] = ()) -> Prompt:
        """Raises PromptError, or ContextOverflowError with both numbers."""
        return self.prompts.chat(messages, images)

    def raw_prompt(self, text: str | Many[int], images: Many[ImageInput] = ()) -> Prompt:
        """`text` as it stands, `<image>` marking the place of each image; or token ids."""
        return self.prompts.raw(text, images)

    def submit(self, request: Request, on_event: EventCallback | None = None) -> RequestHandle:
        """Puts the request into the queue; safe from any thread.

        A grammar is compiled here, on the caller's thread, so that the engine never waits for it. Raises
        ContextOverflowError, ParameterError, ConstraintError, QueueFullError, EngineStoppedError.
        """
        length = len(request.prompt.token_ids)
        if not length:
            raise ContextOverflowError("the prompt is empty: at least one token is needed to continue from")
        if length >= self.sizing.max_context:
            raise ContextOverflowError(
                f"the prompt has {length} tokens, which leaves no room to answer in a context of "
                f"{self.sizing.max_context} tokens"
            )
        self._sampler.check(request.params)
        handle = RequestHandle(request, self.abort, self._unfinished.discard, on_event)
        active = ActiveRequest(request, handle, [self._choice(request, index) for index in range(request.params.n)])
        with self._lock:
            if self._closed:
                raise EngineStoppedError("the engine is closed")
            if request.request_id in self._unfinished:
                raise ParameterError(
                    f"request id {request.request_id!r} is in use; choose another", "request_id"
                )
            if len(self._unfinished) >= self.config.max_waiting + self.config.max_rows:
                raise QueueFullError(
                    f"{len(self._unfinished)} requests are waiting already, the queue holds no more; try again later"
                )
            self._unfinished.add(request.request_id)
            self._mailbox.put(Submit(active))
        return handle

    def _choice(self, request: Request, index: int) -> ActiveChoice:
        params = request.params
        sequence = Sequence(request, index)
        seed = params.seed if params.seed is not None else secrets.randbits(63)
        stream = TextStream(
            params,
            Detokenizer(self.tokenizer, continues=request.prompt.continues),
            eos_ids=self.model_config.eos_ids,
            room=self.sizing.max_context - sequence.prompt_length,
        )
        matcher = None
        if params.constraint is not None:
            matcher = self._grammars.compile(params.constraint, continues=request.prompt.continues)
        row = SamplingRow(params, request.prompt.token_ids, seed, index)
        return ActiveChoice(sequence, stream, row, matcher)

    def abort(self, request_id: str) -> None:
        """Stops a request between two steps; unknown or finished ones are left alone."""
        self._mailbox.put(Abort(request_id))

    def stats(self) -> EngineStats:
        loop = self._loop
        return EngineStats(
            counters=loop.counters.snapshot(),
            scheduler=loop.scheduler.stats(),
            unfinished=len(self._unfinished),
            images_cached=len(loop.runner.embeddings),
            image_bytes=loop.runner.embeddings.nbytes,
        )

    @property
    def running(self) -> bool:
        """False once it is closed, or its loop has died: nothing is answered any more."""
        return not self._closed and self._thread.is_alive()

    def close(self) -> None:
        """Ends the thread; requests under way end with EngineStoppedError. From a callback it does not wait."""
        with self._lock:
            self._closed = True
        self._mailbox.put(Close())
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
