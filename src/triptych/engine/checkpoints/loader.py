"""From a checkpoint folder to a model in memory: tensor by tensor, in the form it is computed in."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..config import Precision
from ..errors import CheckpointError
from ..machine import Machine
from ..models.decoder import Decoder
from ..models.llava import Llava
from ..ops.linear import Linear
from .assembly import QUANTISED, Assembly
from .checkpoint import ModelConfig
from .quant import QuantStore
from .shards import StoredTensor, stored_tensors
from .weight_reader import ProgressCallback, WeightReader
from .weights import canonical_name, check_tensors

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model. `llava` is None for plain text models; `unpacked` are matrices for `pack` to work on."""

    config: ModelConfig
    precision: Precision
    dtype: torch.dtype
    decoder: Decoder
    llava: Llava | None
    unpacked: list[Linear] = field(default_factory=list)

    def pack(self, seconds: float = math.inf) -> bool:
        """Spend about `seconds` on bringing matrices into their fastest form; false when all of them are."""
        end = time.perf_counter() + seconds
        while self.unpacked and time.perf_counter() < end:
            self.unpacked.pop().pack()
        return bool(self.unpacked)

    @property
    def nbytes(self) -> int:
        """Bytes of all weights in memory."""
        return self.decoder.nbytes + (0 if self.llava is None else self.llava.nbytes)


def load_model(
    folder: str | Path,
    config: ModelConfig,
    precision: Precision,
    device: torch.device | str = "cpu",
    *,
    compute_dtype: torch.dtype | None = None,
    progress: ProgressCallback | None = None,
    cache_dir: Path | None = None,
    pack: bool = True,
) -> Model:
    """Load the checkpoint of `folder`, described by `config`, with its matrices in `precision`.

    Embeddings, norms, router, patch embedding, vision tower and projector stay in `compute_dtype` (by default
    the precision's own, for quantised ones what the device multiplies fast). `progress(done, total)` is told
    bytes read. Quantised matrices are kept in `cache_dir` and taken from there the next time. With `pack` false
    the model starts at once on matrices as they lie in their files, and `Model.pack` makes it fast later.

    Raises CheckpointError (UnsupportedModelError) before anything is read if the files do not hold exactly the
    tensors the config implies, and when the cache cannot be written.
    """
    device = torch.device(device)
    stored = find_tensors(Path(folder), config)
    dtype = compute_dtype or default_compute_dtype(precision, config, device)
    reader = WeightReader(stored, progress)
    with torch.inference_mode(), QuantStore(_cache(cache_dir, precision, device), stored, precision) as store:
        parts = Assembly(config, precision, dtype, device, reader, store, pack)
        model = Model(config, precision, dtype, parts.decoder(), parts.llava())
    if not pack:
        model.unpacked.extend(reversed(parts.linears))
    if parts.rounding.share:
        log.info(
            "fp16 weights computed in bf16: about %.0f %% of them lose up to 3 bits; precision fp32 keeps them",
            100 * parts.rounding.share,
        )
    return model


def _cache(folder: Path | None, precision: Precision, device: torch.device) -> Path | None:
    """Matrices are laid out for the device that made them, so each kind of device has its own files."""
    return folder / device.type if folder is not None and precision in QUANTISED else None


def find_tensors(folder: Path, config: ModelConfig) -> dict[str, StoredTensor]:
    """Where each tensor the model uses is stored, by canonical name, in the order of the model.

    Raises CheckpointError for missing, unexpected, misshapen or doubled tensors.
    """
    stored: dict[str, StoredTensor] = {}
    for tensor in stored_tensors(folder).values():
        name = canonical_name(tensor.name)
        if name in stored:
            raise CheckpointError(f"{folder}: {stored[name].name} and {tensor.name} are the same weight")
        stored[name] = tensor
    used = check_tensors(config, {name: tensor.shape for name, tensor in stored.items()}, str(folder))
    for name in used:
        if stored[name].dtype not in ("F32", "F16", "BF16"):
            raise CheckpointError(
                f"{folder}: {name} is stored as {stored[name].dtype}; only floats of 16 and 32 bits are read"
            )
    return {name: stored[name] for name in used}


def default_compute_dtype(precision: Precision, config: ModelConfig, device: torch.device) -> torch.dtype:
    """The type activations have: the precision's own, for quantised weights the one the device is fast in."""
    if precision in ("fp32", "fp16", "bf16"):
        return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    if device.type == "cuda":
        return torch.float16 if config.dtype == "float16" else torch.bfloat16
    return torch.bfloat16 if Machine.probe("cpu").fast_bf16 else torch.float32
