"""What it takes to run a model here: memory, by the arithmetic that the engine itself sizes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from ....engine.checkpoints.checkpoint import ModelConfig
from ....engine.config import Precision
from ....engine.sizing import BYTES_PER_WEIGHT, GIB, OVERHEAD, USEFUL_CONTEXT, count_parameters

# What the config.json of each checkpoint says about sizes; what it leaves out are the defaults of its class.
_VICUNA: Mapping[str, Any] = MappingProxyType(
    {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32064}
)
_VICUNA_13B: Mapping[str, Any] = MappingProxyType({
    **_VICUNA, "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40,
})  # fmt: skip
_MISTRAL: Mapping[str, Any] = MappingProxyType(
    {"model_type": "mistral", "max_position_embeddings": 32768, "vocab_size": 32064, "sliding_window": None}
)
_CONFIGS: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "llava-hf/llava-1.5-7b-hf": {"model_type": "llava", "text_config": _VICUNA},
    "llava-hf/llava-1.5-13b-hf": {"model_type": "llava", "text_config": _VICUNA_13B},
    "llava-hf/llava-v1.6-mistral-7b-hf": {"model_type": "llava_next", "text_config": _MISTRAL},
    "llava-hf/llava-v1.6-vicuna-7b-hf": {"model_type": "llava_next", "text_config": _VICUNA},
    "llava-hf/llava-v1.6-vicuna-13b-hf": {"model_type": "llava_next", "text_config": _VICUNA_13B},
    "mistralai/Mixtral-8x7B-Instruct-v0.1": {"model_type": "mixtral", "max_position_embeddings": 32768},
})  # fmt: skip
_PRECISIONS: tuple[Precision, ...] = ("bf16", "int8", "int4")
# Memory of cards that are sold, in GiB.
_CARDS = (8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 141)


@dataclass(frozen=True, slots=True)
class Fit:
    """Bytes in one precision: of the weights, and in all with a conversation and the room to compute. `card` is the
    smallest usual GPU memory that holds that, in GiB, None if no single one does.
    """

    precision: Precision
    bits: float
    weights: int
    total: int
    card: int | None


@dataclass(frozen=True, slots=True)
class Hardware:
    """`kv` is bytes of keys and values for `context` tokens, `room` what a step and the process need on a GPU."""

    parameters: int
    kv_token: int
    context: int
    kv: int
    room: int
    fits: tuple[Fit, ...]


@cache
def hardware(checkpoint: str) -> Hardware | None:
    """What a checkpoint needs; None if its sizes are not known here."""
    raw = _CONFIGS.get(checkpoint)
    if raw is None:
        return None
    config = ModelConfig.from_dict({key: dict(value) if key == "text_config" else value for key, value in raw.items()})
    parameters = count_parameters(config)
    text = config.text
    kv_token = 2 * text.layers * text.kv_heads * text.head_dim * 2
    kv, room = USEFUL_CONTEXT * kv_token, OVERHEAD["cuda"]
    fits = tuple(_fit(precision, parameters.nbytes(precision), kv + room) for precision in _PRECISIONS)
    return Hardware(parameters.total, kv_token, USEFUL_CONTEXT, kv, room, fits)


def _fit(precision: Precision, weights: int, beside: int) -> Fit:
    total = weights + beside
    card = next((size for size in _CARDS if size * GIB >= total), None)
    return Fit(precision, 8 * BYTES_PER_WEIGHT[precision], weights, total, card)
