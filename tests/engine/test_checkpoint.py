"""What is read from config.json: class defaults, both spellings, and refusals that say what is supported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triptych.engine.checkpoints.checkpoint import SUPPORTED, ModelConfig
from triptych.engine.errors import CheckpointError, UnsupportedModelError

# As published: sizes of the text model are left to the class defaults.
LLAVA15: dict[str, Any] = {
    "model_type": "llava", "image_token_index": 32000, "pad_token_id": 32001, "projector_hidden_act": "gelu",
    "vision_feature_layer": -2, "vision_feature_select_strategy": "default", "tie_word_embeddings": False,
    "torch_dtype": "float16", "vocab_size": 32064,
    "text_config": {
        "model_type": "llama", "max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "vocab_size": 32064,
        "torch_dtype": "float16",
    },
    "vision_config": {
        "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "image_size": 336,
        "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768,
        "vocab_size": 32000,
    },
}
LLAVA16: dict[str, Any] = {
    **LLAVA15, "model_type": "llava_next",
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    "use_image_newline_parameter": True,
    "text_config": {
        "model_type": "mistral", "intermediate_size": 14336, "num_key_value_heads": 8, "vocab_size": 32064,
        "max_position_embeddings": 32768, "rope_theta": 1000000.0, "sliding_window": None, "rms_norm_eps": 1e-05,
        "torch_dtype": "bfloat16",
    },
}
LLAMA: dict[str, Any] = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4}


def without(raw: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name != key}


def test_published_llava15_relies_on_class_defaults() -> None:
    config = ModelConfig.from_dict(LLAVA15)
    text, vision = config.text, config.vision
    assert (text.hidden, text.intermediate, text.layers, text.heads, text.kv_heads) == (4096, 11008, 32, 32, 32)
    assert (text.head_dim, text.vocab, text.rope_theta, text.rms_eps) == (128, 32064, 10000.0, 1e-5)
    assert (text.max_positions, text.sliding_window, text.experts, text.tied) == (4096, None, 0, False)
    assert vision is not None
    assert (vision.grid, vision.tokens, vision.activation, vision.layer_norm_eps) == (24, 576, "quick_gelu", 1e-5)
    assert (config.vision_layers_used, config.image_token_id, config.grid_pinpoints) == (23, 32000, ())
    assert (config.eos_ids, config.bos_id, config.pad_id, config.dtype) == ((2,), 1, 32001, "float16")


def test_published_llava16() -> None:
    config = ModelConfig.from_dict(LLAVA16)
    assert config.architecture == "llava_next"
    assert (config.text.kv_heads, config.text.rope_theta, config.text.sliding_window) == (8, 1e6, None)
    assert config.grid_pinpoints[0] == (336, 672)
    assert config.dtype == "float16"


def test_a_mistral_without_keys_has_the_class_window_and_theta() -> None:
    config = ModelConfig.from_dict({"model_type": "mistral"}).text
    assert (config.sliding_window, config.rope_theta, config.rms_eps) == (4096, 10000.0, 1e-6)
    assert ModelConfig.from_dict({"model_type": "mixtral"}).text.rope_theta == 1e6
    # A window as wide as the context is none.
    short = {"model_type": "mistral", "max_position_embeddings": 4096}
    assert ModelConfig.from_dict(short).text.sliding_window is None


@pytest.mark.parametrize("kind", SUPPORTED)
def test_defaults_are_those_of_transformers(kind: str) -> None:
    from transformers import AutoConfig

    theirs = AutoConfig.for_model(kind)
    mine = ModelConfig.from_dict({"model_type": kind})
    text = theirs.get_text_config()
    assert mine.text.hidden == text.hidden_size
    assert mine.text.intermediate == text.intermediate_size
    assert (mine.text.layers, mine.text.heads) == (text.num_hidden_layers, text.num_attention_heads)
    assert mine.text.kv_heads == text.num_key_value_heads
    assert mine.text.vocab == text.vocab_size
    assert mine.text.rms_eps == text.rms_norm_eps
    assert mine.text.rope_theta == text.rope_parameters["rope_theta"]
    assert mine.text.max_positions == text.max_position_embeddings
    assert mine.text.sliding_window == getattr(text, "sliding_window", None)
    assert mine.text.experts == getattr(text, "num_local_experts", 0)
    assert mine.eos_ids == (text.eos_token_id,)
    if mine.vision is not None:
        vision = theirs.vision_config
        assert mine.vision.hidden == vision.hidden_size
        assert mine.vision.layers == vision.num_hidden_layers
        assert mine.vision.patch_size == vision.patch_size
        assert mine.vision.activation == vision.hidden_act
        assert mine.feature_layer == theirs.vision_feature_layer
        assert mine.image_token_id == theirs.image_token_index
    if kind == "llava_next":
        assert [list(point) for point in mine.grid_pinpoints] == theirs.image_grid_pinpoints


def test_both_spellings_of_transformers_4_and_5() -> None:
    new = {**LLAMA, "dtype": "bfloat16", "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
    old = {**LLAMA, "torch_dtype": "bfloat16", "rope_theta": 5e5}
    assert ModelConfig.from_dict(new) == ModelConfig.from_dict(old)
    renamed = {**without(LLAVA15, "image_token_index"), "image_token_id": 31999}
    assert ModelConfig.from_dict(renamed).image_token_id == 31999


def test_generation_config_decides_where_to_stop(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert ModelConfig.from_folder(tmp_path).eos_ids == (2,)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 32007]}')
    assert ModelConfig.from_folder(tmp_path).eos_ids == (2, 32007)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"model_type": "gpt2"}, r"'gpt2' is not supported; supported are llava, llava_next, llama, mistral, mix"),
        ({}, r"model_type None is not supported"),
        ({**LLAMA, "quantization_config": {"quant_method": "awq"}}, r"quantised by awq.*16-bit"),
        ({**LLAMA, "rope_scaling": {"type": "linear", "factor": 2.0}}, r"rope scaling of type 'linear'"),
        ({**LLAMA, "rope_parameters": {"rope_type": "yarn"}}, r"rope scaling of type 'yarn'"),
        ({**LLAMA, "attention_bias": True}, r"attention_bias true is not run"),
        ({**LLAMA, "hidden_act": "gelu"}, r"hidden_act 'gelu'"),
        ({"model_type": "llava", "mm_vision_tower": "openai/clip"}, r"original LLaVA format.*llava-hf"),
        ({**LLAVA15, "text_config": {"model_type": "qwen2"}}, r"LLaVA on a text model of type 'qwen2'"),
        ({**LLAVA15, "vision_config": {"model_type": "siglip_vision_model"}}, r"vision tower 'siglip_vision"),
        ({**LLAVA15, "vision_feature_select_strategy": "full"}, r"'full' is not run, only 'default'"),
        ({**LLAVA15, "vision_feature_layer": [-2, -5]}, r"vision_feature_layer \[-2, -5\]"),
    ],
)
def test_what_is_not_run_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        ModelConfig.from_dict(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({**LLAMA, "num_key_value_heads": 3}, r"impossible sizes.*3 kv heads"),
        ({**LLAMA, "num_hidden_layers": 0}, r"impossible sizes"),
        ({"model_type": "mixtral", "num_local_experts": 1}, r"impossible sizes"),
        ({**LLAMA, "vocab_size": "many"}, r"an impossible value"),
        ({**LLAMA, "num_attention_heads": 0}, r"an impossible value"),
        ({**LLAVA15, "vision_feature_layer": -40}, r"vision_feature_layer -40 of a tower of 24"),
        ({**LLAVA16, "image_grid_pinpoints": [[300, 672]]}, r"\(300, 672\) is no multiple of the tile"),
        ({**LLAVA15, "text_config": "llama"}, r"an impossible value"),
    ],
)
def test_impossible_values(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        ModelConfig.from_dict(raw)
    assert "\n" not in str(caught.value)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        ModelConfig.from_folder(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no config\.json; is this a Hugging Face checkpoint"):
        ModelConfig.from_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        ModelConfig.from_folder(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="not a JSON object"):
        ModelConfig.from_folder(tmp_path)
