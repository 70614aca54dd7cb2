"""The shapes of the three models and the configuration files that a checkpoint of each needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BOS, EOS = 1, 2
VOCABULARY = 640
IMAGE_TOKEN, PAD_TOKEN = 638, 639

TILE = 160
PATCH = 16
GRID = TILE // PATCH
# (height, width): the analogue of the five grids of the real LLaVA 1.6.
PINPOINTS = ((TILE, 2 * TILE), (2 * TILE, TILE), (2 * TILE, 2 * TILE), (3 * TILE, TILE), (TILE, 3 * TILE))
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Vision:
    """The CLIP tower. Only `layers` - 1 layers are read (vision_feature_layer -2); the last must exist in the file."""

    hidden: int = 192
    mlp: int = 768
    layers: int = 6
    heads: int = 6


@dataclass(frozen=True)
class Text:
    """A Llama, Mistral or Mixtral decoder. `experts` 0 means a dense block."""

    hidden: int = 192
    mlp: int = 256
    layers: int = 4
    heads: int = 6
    kv_heads: int = 2
    positions: int = 4096
    theta: float = 10000.0
    eps: float = 1e-5
    experts: int = 0


VISION = Vision()
# The Llama of 1.5 gets one key/value head per query head when it is exported: see `export.expand_kv_heads`.
MISTRAL = Text()
LLAMA = Text(kv_heads=6, positions=2048)
MIXTRAL = Text(hidden=128, mlp=128, layers=4, heads=4, kv_heads=2, positions=2048, theta=1e6, experts=8)


def _text_config(text: Text, kind: str) -> dict[str, Any]:
    return {
        "model_type": kind,
        "hidden_size": text.hidden,
        "intermediate_size": text.mlp,
        "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads,
        "num_key_value_heads": text.kv_heads,
        "head_dim": text.hidden // text.heads,
        "hidden_act": "silu",
        "max_position_embeddings": text.positions,
        "rms_norm_eps": text.eps,
        "rope_theta": text.theta,
        "tie_word_embeddings": False,
        "vocab_size": VOCABULARY,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
    }


def llava_config(text: Text, anyres: bool, dtype: str) -> dict[str, Any]:
    """config.json of LLaVA 1.5 (`anyres` False) or 1.6."""
    text_config = _text_config(text, "mistral" if anyres else "llama") | {"torch_dtype": dtype}
    if anyres:
        text_config["sliding_window"] = None
    config: dict[str, Any] = {
        "architectures": ["LlavaNextForConditionalGeneration" if anyres else "LlavaForConditionalGeneration"],
        "model_type": "llava_next" if anyres else "llava",
        "ignore_index": -100,
        "image_token_index": IMAGE_TOKEN,
        "image_seq_length": GRID * GRID,
        "pad_token_id": PAD_TOKEN,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "vocab_size": VOCABULARY,
        "text_config": text_config,
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": VISION.hidden,
            "intermediate_size": VISION.mlp,
            "num_hidden_layers": VISION.layers,
            "num_attention_heads": VISION.heads,
            "image_size": TILE,
            "patch_size": PATCH,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "projection_dim": VISION.hidden,
        },
    }
    if anyres:
        config["image_grid_pinpoints"] = [list(pair) for pair in PINPOINTS]
        config["use_image_newline_parameter"] = True
    return config


def mixtral_config(text: Text, dtype: str) -> dict[str, Any]:
    """config.json of the sparse text model."""
    return {
        "architectures": ["MixtralForCausalLM"],
        **_text_config(text, "mixtral"),
        "num_local_experts": text.experts,
        "num_experts_per_tok": 2,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.02,
        "sliding_window": None,
        "torch_dtype": dtype,
    }


def preprocessor_config(anyres: bool) -> dict[str, Any]:
    """preprocessor_config.json: 1.5 pads to a square, 1.6 cuts tiles."""
    config: dict[str, Any] = {
        "image_processor_type": "LlavaNextImageProcessor" if anyres else "LlavaImageProcessor",
        "processor_class": "LlavaNextProcessor" if anyres else "LlavaProcessor",
        "do_resize": True,
        "size": {"shortest_edge": TILE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": TILE, "width": TILE},
        "do_rescale": True,
        "rescale_factor": 0.00392156862745098,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
        "do_convert_rgb": True,
        "do_pad": True,
    }
    if anyres:
        config["aspect_ratio_setting"] = "anyres"
        config["image_grid_pinpoints"] = [list(pair) for pair in PINPOINTS]
    return config


def processor_config(anyres: bool) -> dict[str, Any]:
    """processor_config.json: without num_additional_image_tokens the token count would be one short."""
    return {
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": PATCH,
        "processor_class": "LlavaNextProcessor" if anyres else "LlavaProcessor",
        "vision_feature_select_strategy": "default",
    }
