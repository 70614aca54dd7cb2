"""Tensor names of every published layout, and what a config says must be there."""

from __future__ import annotations

import pytest

from triptych.engine.checkpoints.checkpoint import ModelConfig
from triptych.engine.checkpoints.weights import canonical_name, check_tensors, expected_tensors
from triptych.engine.errors import CheckpointError
from triptych.engine.sizing import count_parameters

LLAVA = ModelConfig.from_dict(
    {"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064, "rms_norm_eps": 1e-5}}
)
MIXTRAL = ModelConfig.from_dict({"model_type": "mixtral"})


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("language_model.model.layers.3.mlp.up_proj.weight", "language_model.layers.3.mlp.up_proj.weight"),
        ("model.language_model.layers.3.mlp.up_proj.weight", "language_model.layers.3.mlp.up_proj.weight"),
        ("model.layers.3.mlp.up_proj.weight", "language_model.layers.3.mlp.up_proj.weight"),
        ("model.embed_tokens.weight", "language_model.embed_tokens.weight"),
        ("model.norm.weight", "language_model.norm.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("lm_head.weight", "lm_head.weight"),
        ("vision_tower.vision_model.pre_layrnorm.bias", "vision_tower.pre_layrnorm.bias"),
        ("vision_tower.pre_layrnorm.bias", "vision_tower.pre_layrnorm.bias"),
        ("model.vision_tower.pre_layrnorm.bias", "vision_tower.pre_layrnorm.bias"),
        ("model.vision_tower.vision_model.pre_layrnorm.bias", "vision_tower.pre_layrnorm.bias"),
        ("model.vision_tower.vision_tower.vision_model.pre_layrnorm.bias", "vision_tower.pre_layrnorm.bias"),
        ("model.multi_modal_projector.linear_2.weight", "multi_modal_projector.linear_2.weight"),
        ("model.mm_projector.0.weight", "multi_modal_projector.linear_1.weight"),
        ("model.mm_projector.2.bias", "multi_modal_projector.linear_2.bias"),
        ("model.image_newline", "image_newline"),
        ("image_newline", "image_newline"),
        (
            "model.layers.0.block_sparse_moe.experts.7.w2.weight",
            "language_model.layers.0.mlp.experts.7.w2.weight",
        ),
        ("model.layers.0.mlp.experts.gate_up_proj", "language_model.layers.0.mlp.experts.gate_up_proj"),
    ],
)
def test_every_layout_has_one_canonical_form(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical
    assert canonical_name(canonical) == canonical


def parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    total = 0
    for shape in shapes.values():
        count = 1
        for size in shape:
            count *= size
        total += count
    return total


def test_counts_are_those_of_the_published_checkpoints() -> None:
    assert parameters(expected_tensors(MIXTRAL)) == 46_702_792_704
    assert parameters(expected_tensors(MIXTRAL, fused_experts=True)) == 46_702_792_704
    assert len(expected_tensors(MIXTRAL)) == 995
    assert len(expected_tensors(MIXTRAL, fused_experts=True)) == 291
    # The published 7,063,427,072 in 686 tensors, less the last tower layer and post_layernorm.
    assert parameters(expected_tensors(LLAVA)) == 7_063_427_072 - 12_596_224 - 2_048
    assert len(expected_tensors(LLAVA)) == 686 - 16 - 2


@pytest.mark.parametrize("config", [LLAVA, MIXTRAL])
def test_sizing_counts_what_is_loaded(config: ModelConfig) -> None:
    assert count_parameters(config).total == parameters(expected_tensors(config))


def test_dead_weights_are_allowed_and_others_are_not() -> None:
    shapes = expected_tensors(LLAVA)
    dead = {
        "vision_tower.encoder.layers.23.mlp.fc1.weight": (4096, 1024),
        "vision_tower.post_layernorm.weight": (1024,),
        "vision_tower.embeddings.position_ids": (1, 577),
        "language_model.layers.0.self_attn.rotary_emb.inv_freq": (64,),
    }
    assert check_tensors(LLAVA, shapes | dead, "here") == shapes
    for name in ("vision_tower.encoder.layers.24.mlp.fc1.weight", "lm_head.bias", "score.weight"):
        with pytest.raises(CheckpointError, match=f"here: 1 tensors that config.json does not explain, first {name}"):
            check_tensors(LLAVA, shapes | {name: (1,)}, "here")


def test_missing_and_misshapen_tensors_are_named() -> None:
    shapes = expected_tensors(LLAVA)
    name = "language_model.layers.7.mlp.up_proj.weight"
    with pytest.raises(CheckpointError, match=f"1 of 668 tensors missing, first {name}"):
        check_tensors(LLAVA, {key: shape for key, shape in shapes.items() if key != name}, "here")
    with pytest.raises(CheckpointError, match=rf"{name} has shape \[1, 2\], config.json asks for \[11008, 4096\]"):
        check_tensors(LLAVA, shapes | {name: (1, 2)}, "here")
