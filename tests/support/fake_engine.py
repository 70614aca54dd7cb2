"""An engine that answers at once and by rule, for tests of what is built on top of the engine.

It answers with the words of the last message, the number of messages and the sizes of the pictures, word by word on a
thread of its own, and fails where the text says "explode". It has the real engine's interface and none of its inside.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from triptych.engine.config import EngineConfig
from triptych.engine.errors import EngineStoppedError, PromptError
from triptych.engine.handle import RequestHandle
from triptych.engine.request import Delta, Finished, ImageSpan, Prompt, Request, Timing, Usage


@dataclass(frozen=True)
class FakeInfo:
    model: str
    architecture: str = "llava_next"
    precision: str = "fp32"
    device: str = "cpu"
    max_context: int = 4096
    vision: bool = True
    weight_bytes: int = 1000
    kv_tokens: int = 4096
    vocab: int = 100


@dataclass
class FakeEngine:
    """`delay` is seconds per word. `aborted` are the ids of requests that were aborted before their end."""

    config: EngineConfig
    progress: Any = None
    delay: float = 0.0
    vision: bool = True
    aborted: list[str] = field(default_factory=list)
    prompts: list[Any] = field(default_factory=list)
    most_in_flight: int = 0

    def __post_init__(self) -> None:
        self.info = FakeInfo(self.config.model_name, vision=self.vision)
        self._queue: queue.SimpleQueue[RequestHandle | None] = queue.SimpleQueue()
        self._stopped: set[str] = set()
        self._lock = threading.Lock()
        self._in_flight = 0
        self.closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if self.progress is not None:
            self.progress(1, 1)

    def chat_prompt(self, messages: Any, images: Any = ()) -> Prompt:
        holes = [part for message in messages if not isinstance(message["content"], str)
                 for part in message["content"] if part["type"] == "image"]
        if holes and len(holes) != len(images):
            raise PromptError(f"{len(holes)} placeholders for {len(images)} images")
        self.prompts.append(messages)
        content = messages[-1]["content"]
        asked = content if isinstance(content, str) else content[-1]["text"]
        return self._prompt(f"{asked} turn {len(messages)}", images)

    def raw_prompt(self, text: str, images: Any = ()) -> Prompt:
        return self._prompt(text, images)

    def _prompt(self, text: str, images: Any) -> Prompt:
        sizes = "".join(f" {image.width}x{image.height}" for image in images)
        spans = tuple(ImageSpan(2 * i, 2, 1, image.digest, image) for i, image in enumerate(images))
        for image in images:
            image.pixels()
        return Prompt(tuple(range(10)), spans, text + sizes)

    def submit(self, request: Request, on_event: Any = None) -> RequestHandle:
        if self.closed:
            raise EngineStoppedError("the engine is closed")
        with self._lock:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        handle = RequestHandle(request, self._abort, lambda _: None, on_event)
        self._queue.put(handle)
        return handle

    def _abort(self, request_id: str) -> None:
        self.aborted.append(request_id)
        self._stopped.add(request_id)

    def _run(self) -> None:
        while (handle := self._queue.get()) is not None:
            self._answer(handle)
            with self._lock:
                self._in_flight -= 1

    def _answer(self, handle: RequestHandle) -> None:
        request = handle.request
        usage = Usage(len(request.prompt.token_ids), 0, request.prompt.image_tokens, 0)
        if "explode" in request.prompt.text:
            handle.deliver(Finished(request.request_id, usage, error=PromptError("it exploded")))
            return
        words = request.prompt.text.split(" ")[: request.params.max_tokens]
        for index in range(request.params.n):
            for number, word in enumerate(words):
                time.sleep(self.delay)
                if request.request_id in self._stopped:
                    handle.deliver(Delta(request.request_id, index, finish_reason="abort"))
                    break
                text = word if number == 0 else f" {word}"
                last = "stop" if number == len(words) - 1 else None
                handle.deliver(Delta(request.request_id, index, (number,), text, finish_reason=last))
        used = Usage(usage.prompt_tokens, 0, usage.image_tokens, len(words) * request.params.n)
        handle.deliver(Finished(request.request_id, used, Timing(0.1, 0.2, 0.5)))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._queue.put(None)
            self._thread.join()
