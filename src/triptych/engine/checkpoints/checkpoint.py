"""What a checkpoint folder says about its model, read from its JSON files without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, UnsupportedModelError
from .config_defaults import CLIP_LARGE, COMMON_TEXT_DEFAULTS, PINPOINTS, TEXT_DEFAULTS, VISION_DEFAULTS
from .shards import stored_dtype, stored_tensors

SUPPORTED = ("llava", "llava_next", "llama", "mistral", "mixtral")
_DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class TextConfig:
    """Sizes of the decoder. `experts` is 0 for a dense one; `sliding_window` None means the whole context."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    rms_eps: float
    rope_theta: float
    max_positions: int
    sliding_window: int | None = None
    experts: int = 0
    experts_per_token: int = 0
    tied: bool = False


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Sizes of the CLIP tower; images are `image_size` pixels square, cut into patches of `patch_size`."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    image_size: int
    patch_size: int
    layer_norm_eps: float = 1e-5
    activation: str = "quick_gelu"

    @property
    def grid(self) -> int:
        """Patches along one side of a tile."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Features of one tile, the class token not counted."""
        return self.grid**2


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything about a checkpoint that does not need its weights.

    `grid_pinpoints` are the (height, width) canvases of anyres in pixels, empty for LLaVA 1.5.
    `feature_layer` indexes the tower's hidden states as transformers does (0 is the embedding, -1 behind the
    last layer). `dtype` is what the weights are stored in, "" when nothing says it.
    """

    architecture: str
    text: TextConfig
    vision: VisionConfig | None = None
    image_token_id: int | None = None
    grid_pinpoints: tuple[tuple[int, int], ...] = ()
    feature_layer: int = -2
    projector_bias: bool = True
    eos_ids: tuple[int, ...] = (2,)
    bos_id: int | None = 1
    pad_id: int | None = None
    dtype: str = ""

    @property
    def vision_layers_used(self) -> int:
        """Tower layers that run: those behind the feature layer are dead weight and not even loaded."""
        if self.vision is None:
            return 0
        return self.feature_layer if self.feature_layer >= 0 else self.vision.layers + 1 + self.feature_layer

    @classmethod
    def from_folder(cls, folder: str | Path) -> ModelConfig:
        """Read config.json (and generation_config.json) of `folder`, class defaults applied.

        Raises CheckpointError for a missing or damaged file, UnsupportedModelError for what the engine does
        not run.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: no such folder; give a checkpoint folder or a hub id")
        config = cls.from_dict(_read_json(folder / "config.json"), str(folder))
        generation = folder / "generation_config.json"
        eos = _token_ids(_read_json(generation).get("eos_token_id")) if generation.exists() else ()
        return replace(config, eos_ids=eos or config.eos_ids, dtype=_stored_dtype(folder) or config.dtype)

    @classmethod
    def from_dict(cls, raw: dict[str, Any], source: str = "config.json") -> ModelConfig:
        """The same from the parsed content of a config.json; `source` names it in errors."""
        kind = raw.get("model_type")
        if "mm_vision_tower" in raw or "mm_hidden_size" in raw:
            raise UnsupportedModelError(
                f"{source}: this is the original LLaVA format; use a converted checkpoint (llava-hf/...)"
            )
        if kind not in SUPPORTED:
            raise UnsupportedModelError(
                f"{source}: model_type {kind!r} is not supported; supported are {', '.join(SUPPORTED)}"
            )
        if raw.get("quantization_config"):
            method = raw["quantization_config"].get("quant_method", "unknown")
            raise UnsupportedModelError(
                f"{source}: weights quantised by {method} are not read; take the 16-bit ones and --precision"
            )
        try:
            return _llava(raw, source) if kind in ("llava", "llava_next") else _plain(raw, source)
        except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise CheckpointError(f"{source}: an impossible value in config.json: {error}") from error


def _plain(raw: dict[str, Any], source: str) -> ModelConfig:
    text = _with_defaults(raw, str(raw["model_type"]))
    return ModelConfig(
        architecture=raw["model_type"],
        text=_text(text, source),
        eos_ids=_token_ids(text["eos_token_id"]),
        bos_id=text["bos_token_id"],
        pad_id=text.get("pad_token_id"),
        dtype=_dtype(raw),
    )


def _llava(raw: dict[str, Any], source: str) -> ModelConfig:
    section = dict(raw.get("text_config") or {})
    kind = section.get("model_type", "llama")
    if kind not in ("llama", "mistral"):
        raise UnsupportedModelError(
            f"{source}: LLaVA on a text model of type {kind!r} is not supported, only on llama and mistral"
        )
    text = _with_defaults(section, kind)
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if raw.get(key) is not None:
            text[key] = raw[key]
    _check_llava(raw, source)
    vision = _vision(raw.get("vision_config"), source)
    anyres = raw["model_type"] == "llava_next"
    layer = int(raw.get("vision_feature_layer", -2))
    text["tie_word_embeddings"] = raw.get("tie_word_embeddings", text["tie_word_embeddings"])
    config = ModelConfig(
        architecture=raw["model_type"],
        text=_text(text, source),
        vision=vision,
        image_token_id=int(raw.get("image_token_index", raw.get("image_token_id", 32000))),
        grid_pinpoints=_pinpoints(raw.get("image_grid_pinpoints"), vision, source) if anyres else (),
        feature_layer=layer,
        projector_bias=bool(raw.get("multimodal_projector_bias", True)),
        eos_ids=_token_ids(text["eos_token_id"]),
        bos_id=text["bos_token_id"],
        pad_id=text.get("pad_token_id"),
        dtype=_dtype(raw) or _dtype(section),
    )
    if not 0 <= config.vision_layers_used <= vision.layers:
        raise CheckpointError(f"{source}: vision_feature_layer {layer} of a tower of {vision.layers} layers")
    return config


def _check_llava(raw: dict[str, Any], source: str) -> None:
    runs: tuple[tuple[str, Any], ...] = (
        ("vision_feature_select_strategy", "default"),
        ("projector_hidden_act", "gelu"),
        ("use_image_newline_parameter", True),
    )
    for key, value in runs:
        if raw.get(key, value) != value:
            raise UnsupportedModelError(f"{source}: {key} {raw[key]!r} is not run, only {value!r}")
    layer = raw.get("vision_feature_layer", -2)
    if not isinstance(layer, int):
        raise UnsupportedModelError(f"{source}: vision_feature_layer {layer!r} is not run, only one layer")


def _with_defaults(section: dict[str, Any], kind: str) -> dict[str, Any]:
    return {**COMMON_TEXT_DEFAULTS, **TEXT_DEFAULTS[kind], **section}


def _text(text: dict[str, Any], source: str) -> TextConfig:
    if text["hidden_act"] != "silu":
        raise UnsupportedModelError(f"{source}: hidden_act {text['hidden_act']!r}; only 'silu' is run")
    for key in ("attention_bias", "mlp_bias"):
        if text[key]:
            raise UnsupportedModelError(f"{source}: {key} true is not run")
    hidden, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
    kv_heads = int(text["num_key_value_heads"] or heads)
    positions, window = int(text["max_position_embeddings"]), text["sliding_window"]
    config = TextConfig(
        hidden=hidden,
        intermediate=int(text["intermediate_size"]),
        layers=int(text["num_hidden_layers"]),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=int(text["head_dim"] or hidden // heads),
        vocab=int(text["vocab_size"]),
        rms_eps=float(text["rms_norm_eps"]),
        rope_theta=_rope_theta(text, source),
        max_positions=positions,
        sliding_window=int(window) if window is not None and int(window) < positions else None,
        experts=int(text.get("num_local_experts", 0)),
        experts_per_token=int(text.get("num_experts_per_tok", 0)),
        tied=bool(text["tie_word_embeddings"]),
    )
    smallest = min(hidden, config.layers, config.vocab, positions, config.intermediate)
    if heads % kv_heads or config.head_dim % 2 or smallest < 1 or config.experts_per_token > config.experts:
        raise CheckpointError(
            f"{source}: impossible sizes: hidden {hidden}, {heads} heads, {kv_heads} kv heads, "
            f"head_dim {config.head_dim}, {config.layers} layers, vocabulary {config.vocab}"
        )
    return config


def _rope_theta(text: dict[str, Any], source: str) -> float:
    """transformers 5 writes rope_parameters, earlier versions rope_theta and rope_scaling."""
    parameters = {**(text.get("rope_scaling") or {}), **(text.get("rope_parameters") or {})}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind != "default":
        raise UnsupportedModelError(f"{source}: rope scaling of type {kind!r} is not run, only the default")
    return float(parameters.get("rope_theta", text["rope_theta"]))


def _vision(section: dict[str, Any] | None, source: str) -> VisionConfig:
    raw = {**VISION_DEFAULTS, **(section or CLIP_LARGE)}
    kind = raw.get("model_type", "clip_vision_model")
    if kind != "clip_vision_model":
        raise UnsupportedModelError(f"{source}: vision tower {kind!r} is not run, only clip_vision_model")
    if raw["hidden_act"] not in ("quick_gelu", "gelu"):
        raise UnsupportedModelError(f"{source}: vision hidden_act {raw['hidden_act']!r} is not run")
    if raw["num_channels"] != 3:
        raise UnsupportedModelError(f"{source}: a vision tower of {raw['num_channels']} channels is not run")
    config = VisionConfig(
        hidden=int(raw["hidden_size"]),
        intermediate=int(raw["intermediate_size"]),
        layers=int(raw["num_hidden_layers"]),
        heads=int(raw["num_attention_heads"]),
        image_size=int(raw["image_size"]),
        patch_size=int(raw["patch_size"]),
        layer_norm_eps=float(raw["layer_norm_eps"]),
        activation=raw["hidden_act"],
    )
    if config.hidden % config.heads or config.patch_size < 1 or config.grid < 1:
        raise CheckpointError(
            f"{source}: impossible vision sizes: hidden {config.hidden}, {config.heads} heads, "
            f"image {config.image_size}, patch {config.patch_size}"
        )
    return config


def _pinpoints(raw: Any, vision: VisionConfig, source: str) -> tuple[tuple[int, int], ...]:
    points = tuple((int(height), int(width)) for height, width in (raw or PINPOINTS))
    side = vision.image_size
    bad = [point for point in points if min(point) < side or point[0] % side or point[1] % side]
    if bad:
        raise CheckpointError(f"{source}: image_grid_pinpoints {bad[0]} is no multiple of the tile, {side}")
    return points


def _stored_dtype(folder: Path) -> str:
    """What the files hold: config.json is wrong about it in some published checkpoints."""
    try:
        return stored_dtype(stored_tensors(folder))
    except CheckpointError:  # no weights, or damaged ones: the loader says so
        return ""


def _token_ids(raw: Any) -> tuple[int, ...]:
    if raw is None:
        return ()
    return tuple(int(token) for token in raw) if isinstance(raw, list) else (int(raw),)


def _dtype(raw: dict[str, Any]) -> str:
    name = str(raw.get("dtype") or raw.get("torch_dtype") or "").removeprefix("torch.")
    return name if name in _DTYPES else ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent}: no {path.name}; is this a Hugging Face checkpoint folder?"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not valid JSON ({error}); download it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a JSON object; download it again")
    return content
