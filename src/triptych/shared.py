"""`triptych.caption`, `triptych.chat`, `triptych.stream`: one call, with the model kept loaded between calls."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from .completion import Completion
from .llm import LLM
from .models import DEFAULT_MODEL
from .streams import TextStream


@lru_cache(maxsize=1)
def _loaded(model: str | Path) -> LLM:
    """The last model asked for stays loaded; another one takes its place."""
    return LLM(model)


def caption(images: Any, prompt: str | None = None, *, model: str | Path = DEFAULT_MODEL, **options: Any) -> Any:
    """`LLM(model).caption(images, prompt, **options)`: a string, or a list of strings for a list of images."""
    return _loaded(model).caption(images, prompt, **options)


def chat(messages: Any, images: Any = None, *, model: str | Path = DEFAULT_MODEL, **options: Any) -> Completion:
    """`LLM(model).chat(messages, images, **options)`."""
    return _loaded(model).chat(messages, images, **options)


def stream(messages: Any, images: Any = None, *, model: str | Path = DEFAULT_MODEL, **options: Any) -> TextStream:
    """`LLM(model).stream(messages, images, **options)`: an iterator of text pieces."""
    return _loaded(model).stream(messages, images, **options)
