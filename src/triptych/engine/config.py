"""The engine's options: few, frozen, validated. What they resolve to is decided in `sizing`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from .errors import ParameterError

Precision = Literal["fp32", "fp16", "bf16", "int8", "int4", "w8a8"]
PrecisionChoice = Literal["auto", "stored", "fp32", "fp16", "bf16", "int8", "int4", "w8a8"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
PreprocessChoice = Literal["crop", "pad"]

BLOCK_SIZE = 16


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How one model is run on one device.

    model           folder of a Hugging Face checkpoint
    name            what the model is called in results; the folder's name when empty
    precision       "auto" keeps what is stored if it fits and the device computes it well; see `triptych explain`
    device          "auto" takes a GPU when there is one
    threads         CPU threads for one operation; None: all physical cores
    kv_memory       bytes for keys and values; None: from what is free
    image_memory    bytes of projected image features to keep
    max_context     shorten the model's context to this many tokens
    max_rows        sequences computed together in one step
    token_budget    tokens computed in one step; None: by device
    max_waiting     requests that may wait before `QueueFullError`
    prefix_cache    reuse keys and values of equal beginnings
    preprocess      LLaVA 1.5 only: "crop" as converted checkpoints do, "pad" as the authors did; None: as the
                    checkpoint's own processor config says
    chat_template   in place of the checkpoint's own: "vicuna", "vicuna_v1" (with the authors' system sentence),
                    "mistral", or Jinja source
    cache_dir       where quantised weights are kept; None: quantise again at each start

    Raises `ParameterError` naming the option.
    """

    model: Path
    name: str = ""
    precision: PrecisionChoice = "auto"
    device: DeviceChoice = "auto"
    threads: int | None = None
    kv_memory: int | None = None
    image_memory: int = 256 << 20
    max_context: int | None = None
    max_rows: int = 64
    token_budget: int | None = None
    max_waiting: int = 10_000
    prefix_cache: bool = True
    preprocess: PreprocessChoice | None = None
    chat_template: str | None = None
    cache_dir: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", Path(self.model))
        _one_of("precision", self.precision, get_args(PrecisionChoice))
        _one_of("device", self.device, get_args(DeviceChoice))
        if self.preprocess is not None:
            _one_of("preprocess", self.preprocess, get_args(PreprocessChoice))
        for name in ("threads", "kv_memory", "max_context", "token_budget"):
            if getattr(self, name) is not None:
                _at_least_one(name, getattr(self, name))
        for name in ("max_rows", "max_waiting"):
            _at_least_one(name, getattr(self, name))

    @property
    def model_name(self) -> str:
        return self.name or self.model.name


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ParameterError(f"{name} must be one of {', '.join(allowed)}, not {value!r}", name)


def _at_least_one(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ParameterError(f"{name} must be a whole number of at least 1, not {value!r}", name)
