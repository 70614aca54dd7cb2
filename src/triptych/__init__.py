"""Triptych: LLaVA and Mixtral on hardware you own.

>>> from triptych import LLM
>>> with LLM("triptych/tiny-llava-1.6") as llm:
...     print(llm.caption("examples/two-shapes.png"))

Everything is imported on first use: `import triptych` itself costs nothing and does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .completion import Choice, Completion
    from .engine import errors
    from .engine.errors import TriptychError
    from .engine.request import Constraint, SamplingParams
    from .llm import LLM
    from .shared import caption, chat, stream

__version__ = "0.1.0"

__all__ = [
    "LLM",
    "Choice",
    "Completion",
    "Constraint",
    "SamplingParams",
    "TriptychError",
    "__version__",
    "caption",
    "chat",
    "errors",
    "stream",
]

_HOMES = {
    "LLM": ".llm",
    "Choice": ".completion",
    "Completion": ".completion",
    "Constraint": ".engine.request",
    "SamplingParams": ".engine.request",
    "TriptychError": ".engine.errors",
    "caption": ".shared",
    "chat": ".shared",
    "errors": ".engine",
    "stream": ".shared",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "errors":
        return import_module(".engine.errors", __name__)
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
