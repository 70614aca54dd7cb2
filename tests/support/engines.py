"""Engines on small random checkpoints, and short ways to ask them something and to look at their books."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import checkpoints
from picture_files import encoded, noise

from triptych.engine.config import BLOCK_SIZE, EngineConfig
from triptych.engine.engine import Engine
from triptych.engine.handle import RequestHandle, Result
from triptych.engine.imaging.images import ImageInput, open_image
from triptych.engine.request import Delta, Finished, Prompt, Request, SamplingParams

MAKERS: dict[str, Callable[..., Path]] = {
    "llava15": checkpoints.make_llava15,
    "llava16": checkpoints.make_llava16,
    "llama": checkpoints.make_llama,
    "mistral": checkpoints.make_mistral,
    "mixtral": checkpoints.make_mixtral,
}
_numbers = count(1)


class Shelf:
    """Checkpoint folders, each made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, kind: str) -> Path:
        path = self._folder / kind
        return path if path.exists() else MAKERS[kind](path)

    @contextmanager
    def open(self, kind: str, **options: Any) -> Iterator[Engine]:
        """A new engine; its books are checked at the end."""
        options = {"precision": "fp32", "device": "cpu", "threads": 1, **options}
        with Engine(EngineConfig(self[kind], **options)) as engine:
            yield engine
            check_books(engine)


def chat(engine: Engine, text: str, *pictures: Any) -> Prompt:
    """The prompt of one question about pictures, which come first."""
    images = [picture if isinstance(picture, ImageInput) else open_image(picture) for picture in pictures]
    if not images:
        return engine.chat_prompt([{"role": "user", "content": text}])
    parts = [*({"type": "image"} for _ in images), {"type": "text", "text": text}]
    return engine.chat_prompt([{"role": "user", "content": parts}], images)


def ask(
    engine: Engine, prompt: Prompt | str, *, priority: int = 0, on_event: Any = None, **params: Any
) -> RequestHandle:
    """Submits a request under a new id."""
    if isinstance(prompt, str):
        prompt = chat(engine, prompt)
    request = Request(f"request-{next(_numbers)}", prompt, SamplingParams(**params), priority)
    return engine.submit(request, on_event)


def tokens(result: Result) -> list[int]:
    """The tokens of the only choice."""
    assert len(result.choices) == 1
    return result.choices[0].token_ids


def results(handles: Iterable[RequestHandle]) -> list[Result]:
    return [handle.result() for handle in handles]


def finished(handle: RequestHandle) -> Finished:
    """The last event of a request."""
    *_, last = handle
    assert isinstance(last, Finished)
    return last


def truncated(seed: int = 0) -> bytes:
    """A JPEG whose header is sound and whose pixels end early."""
    content = encoded(noise(200, 150, seed=seed), "JPEG")
    return content[: len(content) // 2]


def memory_for(engine_kind: Path, tokens: int) -> int:
    """The `kv_memory` in which so many tokens fit."""
    from triptych.engine.checkpoints.checkpoint import ModelConfig

    text = ModelConfig.from_folder(engine_kind).text
    blocks = -(-tokens // BLOCK_SIZE)
    return blocks * BLOCK_SIZE * 2 * text.layers * text.kv_heads * text.head_dim * 4


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Returns as soon as `condition` holds; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.001)


def check_books(engine: Engine) -> None:
    """Waits until nothing is under way, then checks that nothing is held for anybody."""
    loop = engine._loop
    wait_until(lambda: not (loop.active or loop.scheduler.has_work or len(loop.intake)))
    loop.scheduler.check()
    loop.runner.embeddings.check()
    assert not loop.runner.embeddings._pins
    assert loop.runner.pixels.tiles == 0
    stats = engine.stats()
    assert stats.unfinished == 0
    assert (stats.scheduler.waiting, stats.scheduler.running, stats.scheduler.blocks_used) == (0, 0, 0)


class Gate:
    """Holds the engine's thread at the first token of a request of its own, so that others can queue up behind."""

    def __init__(self, engine: Engine) -> None:
        self._reached, self._open = Event(), Event()
        self.handle = ask(engine, "gate", max_tokens=1, on_event=self._hold)
        assert self._reached.wait(20)

    def _hold(self, event: object) -> None:
        if isinstance(event, Delta):
            self._reached.set()
            assert self._open.wait(20)

    def open(self) -> None:
        self._open.set()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *exc: object) -> None:
        self.open()
