"""The embedded Python API: one model, loaded in this process, asked for captions, answers and raw continuations."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from .completion import Completion, collect
from .conversation import Message, image_list, take_apart
from .engine.engine import Engine
from .engine.errors import EngineStoppedError, ParameterError
from .engine.handle import RequestHandle
from .engine.imaging.images import open_image
from .engine.request import Prompt, Request, SamplingParams
from .models import DEFAULT_MODEL, engine_config
from .parameters import sampling_params
from .streams import AsyncTextStream, EventBridge, TextStream

if TYPE_CHECKING:
    from .engine.imaging.images import ImageSource

CAPTION_PROMPT = "Describe the picture."

T = TypeVar("T")
OnError = Literal["raise", "return"]
Progress = Callable[..., Any]


class LLM:
    """A loaded model. Use it as a context manager, or call `close()`.

    `model` is an embedded model's name, a checkpoint folder or a hub id (downloaded on first use). `precision`
    is "auto", "stored", "fp32", "fp16", "bf16", "int8", "int4" or "w8a8"; `device` is "auto", "cpu" or "cuda".
    `options` are the other fields of `triptych.engine.config.EngineConfig`.

    An image is a path, bytes, a PIL image, an http(s) URL or a data URI. `**sampling` are the fields of
    `SamplingParams`, plus `json_schema=`, `regex=`, `choice=` or `json_object=True` to constrain the text.
    Everything raises `TriptychError` and its kinds. All methods may be called from several threads.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        precision: str = "auto",
        device: str = "auto",
        progress: Progress | None = None,
        **options: Any,
    ) -> None:
        config = engine_config(model, progress, precision=precision, device=device, **options)
        self.engine = Engine(config, progress)
        self.model: str = config.model_name
        self._ids = count(1)
        # Opening an image reads files and may fetch a URL: a few threads keep that off the engine's own.
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="triptych-images")
        # A model that is dropped without `close()`, or still open at exit, is stopped all the same.
        self._closer = weakref.finalize(self, self.engine.close)

    # ---- one answer -------------------------------------------------------------------------------------------

    def chat(
        self, messages: str | Sequence[Message], images: Any = None, *,
        params: SamplingParams | None = None, **sampling: Any,
    ) -> Completion:
        """Answers a question or continues a conversation; a final assistant message is continued (prefill)."""
        wanted = sampling_params(params, sampling)
        return self._finish(self._submit(self._chat_prompt(messages, images), wanted), wanted)

    def stream(
        self, messages: str | Sequence[Message], images: Any = None, *,
        params: SamplingParams | None = None, **sampling: Any,
    ) -> TextStream:
        """Like `chat`, as an iterator of text pieces; its `completion` is the whole result at the end."""
        wanted = _single(sampling_params(params, sampling))
        return TextStream(self._submit(self._chat_prompt(messages, images), wanted), self.model)

    # ---- many -------------------------------------------------------------------------------------------------

    @overload
    def generate(self, prompts: str, images: Any = None, *, params: SamplingParams | None = None,
                 errors: OnError = "raise", **sampling: Any) -> Completion: ...
    @overload
    def generate(self, prompts: Sequence[str], images: Any = None, *, params: SamplingParams | None = None,
                 errors: OnError = "raise", **sampling: Any) -> list[Completion]: ...
    def generate(
        self, prompts: str | Sequence[str], images: Any = None, *, params: SamplingParams | None = None,
        errors: OnError = "raise", **sampling: Any,
    ) -> Any:
        """Continues raw prompts, without a chat template. Each `<image>` in a prompt takes one image.

        With a list of prompts, `images` is a list with one image, list of images or None for each of them, and
        the answers keep the order. `errors="return"` puts an exception in place of a failed answer.
        """
        single = isinstance(prompts, str)
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        shown = [images] if single else list(images) if images is not None else [None] * len(texts)
        if len(shown) != len(texts):
            raise ParameterError(f"{len(texts)} prompts but images for {len(shown)}: give one entry each", "images")
        wanted = sampling_params(params, sampling)
        jobs = zip(texts, shown, strict=True)
        results = _settle(self._many(jobs, lambda job: self._raw_prompt(*job), wanted), errors)
        return results[0] if single else results

    def caption(
        self, images: Any, prompt: str | None = None, *, params: SamplingParams | None = None,
        errors: OnError = "raise", **sampling: Any,
    ) -> Any:
        """The caption of an image (a string), or of a list of images (a list of strings in their order).

        `errors="return"` puts an exception in place of a failed caption, so that one broken image does not
        lose the others.
        """
        single = not isinstance(images, list | tuple)
        found = self.captions([images] if single else images, prompt, params=params, **sampling)
        texts = [item.text if isinstance(item, Completion) else item for item in _settle(found, errors)]
        return texts[0] if single else texts

    def captions(
        self, images: Iterable[ImageSource], prompt: str | None = None, *,
        params: SamplingParams | None = None, in_flight: int | None = None, **sampling: Any,
    ) -> Generator[Completion | Exception]:
        """Captions any number of images as they are asked for, in order, with full results or errors.

        At most `in_flight` images are held at a time, however long `images` is.
        """
        wanted = sampling_params(params, sampling)
        if in_flight is not None and in_flight < 1:
            raise ParameterError(f"in_flight must be at least 1, not {in_flight}", "in_flight")
        question = CAPTION_PROMPT if prompt is None else prompt
        return self._many(images, lambda image: self._chat_prompt(question, [image]), wanted, in_flight)

    # ---- async ------------------------------------------------------------------------------------------------

    async def achat(
        self, messages: str | Sequence[Message], images: Any = None, *,
        params: SamplingParams | None = None, **sampling: Any,
    ) -> Completion:
        """`chat` for asyncio; cancelling it aborts the generation."""
        wanted = sampling_params(params, sampling)
        return await (await self._astart(lambda: self._chat_prompt(messages, images), wanted)).completion()

    async def astream(
        self, messages: str | Sequence[Message], images: Any = None, *,
        params: SamplingParams | None = None, **sampling: Any,
    ) -> AsyncTextStream:
        """`stream` for asyncio: `async for piece in await llm.astream(...)`."""
        wanted = _single(sampling_params(params, sampling))
        return await self._astart(lambda: self._chat_prompt(messages, images), wanted)

    async def agenerate(
        self, prompt: str, images: Any = None, *, params: SamplingParams | None = None, **sampling: Any
    ) -> Completion:
        """Continues one raw prompt; use `asyncio.gather` for several."""
        wanted = sampling_params(params, sampling)
        return await (await self._astart(lambda: self._raw_prompt(prompt, images), wanted)).completion()

    async def acaption(
        self, images: Any, prompt: str | None = None, *, params: SamplingParams | None = None,
        errors: OnError = "raise", **sampling: Any,
    ) -> Any:
        """`caption` for asyncio; cancelling it aborts all of its captions."""
        single = not isinstance(images, list | tuple)
        question = CAPTION_PROMPT if prompt is None else prompt
        gate = asyncio.Semaphore(self._window())

        async def one(image: Any) -> Completion | Exception:
            async with gate:
                try:
                    return await self.achat(question, [image], params=params, **sampling)
                except Exception as error:
                    return error

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(image)) for image in ([images] if single else images)]
        settled = _settle([task.result() for task in tasks], errors)
        texts = [item.text if isinstance(item, Completion) else item for item in settled]
        return texts[0] if single else texts

    # ---- life -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stops the engine and frees the model; requests still running fail with `EngineStoppedError`."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._closer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    # ---- inside -----------------------------------------------------------------------------------------------

    def _chat_prompt(self, messages: str | Sequence[Message], images: Any) -> Prompt:
        plain, shown = take_apart(messages, images)
        return self.engine.chat_prompt(plain, [open_image(each.source, detail=each.detail) for each in shown])

    def _raw_prompt(self, text: str, images: Any) -> Prompt:
        return self.engine.raw_prompt(text, [open_image(source) for source in image_list(images)])

    def _submit(self, prompt: Prompt, params: SamplingParams, on_event: EventBridge | None = None) -> RequestHandle:
        return self.engine.submit(Request(f"llm-{next(self._ids)}", prompt, params), on_event=on_event)

    def _in_pool(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        if not self._closer.alive:
            raise EngineStoppedError(f"{self.model} is closed; load it again")
        return self._pool.submit(work, *arguments)

    def _finish(self, handle: RequestHandle, params: SamplingParams) -> Completion:
        try:
            return collect(handle, self.model, params.n)
        except BaseException:
            handle.abort()
            raise

    async def _astart(self, build: Callable[[], Prompt], params: SamplingParams) -> AsyncTextStream:
        prompt = await asyncio.wrap_future(self._in_pool(build))
        bridge = EventBridge()
        return AsyncTextStream(self._submit(prompt, params, bridge), bridge, self.model, params.n)

    def _window(self) -> int:
        """Enough requests to fill two steps, few enough that the pictures waiting fit beside the model."""
        return 2 * min(self.engine.config.max_rows, 16 if self.engine.info.device == "cpu" else 64)

    def _many(
        self, jobs: Iterable[Any], build: Callable[[Any], Prompt], params: SamplingParams,
        in_flight: int | None = None,
    ) -> Generator[Completion | Exception]:
        """Prompts are built in the pool and submitted at once; results come in the order of `jobs`."""
        window = self._window() if in_flight is None else in_flight
        flying: deque[Future[RequestHandle]] = deque()
        try:
            for job in jobs:
                flying.append(self._in_pool(self._prepare, build, job, params))
                if len(flying) >= window:
                    yield self._next(flying, params)
            while flying:
                yield self._next(flying, params)
        finally:
            for future in flying:
                future.add_done_callback(_abort)
                future.cancel()

    def _prepare(self, build: Callable[[Any], Prompt], job: Any, params: SamplingParams) -> RequestHandle:
        return self._submit(build(job), params)

    def _next(self, flying: deque[Future[RequestHandle]], params: SamplingParams) -> Completion | Exception:
        try:
            result = self._finish(flying[0].result(), params)
        except Exception as error:
            flying.popleft()
            return error
        flying.popleft()
        return result


def _abort(future: Future[RequestHandle]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().abort()


def _single(params: SamplingParams) -> SamplingParams:
    if params.n != 1:
        raise ParameterError(f"a stream carries one choice, not n={params.n}: use chat or generate for several", "n")
    return params


def _settle(results: Iterable[Completion | Exception], errors: OnError) -> list[Any]:
    """Everything in `results`; with "raise", the first error at once, and what is still in flight aborted."""
    if errors not in ("raise", "return"):
        raise ParameterError(f"errors must be 'raise' or 'return', not {errors!r}", "errors")
    settled = []
    for result in results:
        if isinstance(result, Exception) and errors == "raise":
            if isinstance(results, Generator):
                results.close()
            raise result
        settled.append(result)
    return settled
