"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..models import DEFAULT_MODEL

if TYPE_CHECKING:
    from ..llm import LLM

F = TypeVar("F", bound=Callable[..., Any])

PRECISIONS = ["auto", "stored", "fp32", "fp16", "bf16", "int8", "int4", "w8a8"]
TEMPLATES = ("vicuna", "vicuna_v1", "mistral")
DEVICES = ["auto", "cpu", "cuda"]
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(click.ParamType[int]):
    """Bytes, written as a number with K, M, G or T behind it."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip().upper().removesuffix("B").removesuffix("I")
        number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS and text[-1:] else (text, "")
        try:
            size = float(number) * _UNITS[unit]
        except ValueError:
            self.fail(f"{value!r} is not a size; write for example 512M or 8G", param, ctx)
        if size < 1 or size != size or size == float("inf"):
            self.fail(f"{value!r} is not a size above 0", param, ctx)
        return int(size)


class Template(click.ParamType[str]):
    """A built-in chat template's name, or the content of a file."""

    name = "template"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in TEMPLATES:
            return str(value)
        try:
            return Path(value).read_text(encoding="utf-8")
        except OSError as error:
            names = ", ".join(TEMPLATES)
            self.fail(f"{value!r} is neither {names} nor a file to be read ({error.strerror})", param, ctx)
        except UnicodeDecodeError:
            self.fail(f"{value!r} is not text", param, ctx)


def model_option(function: F) -> F:
    return click.option(
        "--model",
        default=DEFAULT_MODEL,
        show_default=True,
        envvar="TRIPTYCH_MODEL",
        help="An embedded model, a checkpoint folder, or a hub id. Also from TRIPTYCH_MODEL.",
    )(function)


def engine_options(function: F) -> F:
    """All that decides how a model is run, whichever model it is."""
    options = [
        click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True,
                     help="Number format of the weights. auto: as stored, smaller if that does not fit."),
        click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True,
                     help="auto: the GPU if there is one."),
        click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: all physical cores."),
        click.option("--max-context", type=click.IntRange(min=1), metavar="TOKENS",
                     help="Shorten the model's context to save memory."),
        click.option("--kv-memory", type=Size(), metavar="SIZE",
                     help="Memory for keys and values, like 512M or 8G. Default: from what is free."),
        click.option("--preprocess", type=click.Choice(["crop", "pad"]),
                     help="LLaVA 1.5 only: crop the image's centre, or pad it to a square. "
                          "Default: as the checkpoint says."),
        click.option("--chat-template", type=Template(), metavar="NAME|FILE",
                     help="In place of the checkpoint's own: vicuna, vicuna_v1, mistral, or a Jinja file."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def load(model: str, quiet: bool = False, **options: Any) -> LLM:
    """The model, loaded, with progress on stderr when that is a terminal."""
    from ..models import identify

    identify(model)  # a misspelt name is answered before torch is imported
    from ..llm import LLM
    from .progress import loading

    with loading(model, quiet) as progress:
        return LLM(model, progress=progress, **options)
