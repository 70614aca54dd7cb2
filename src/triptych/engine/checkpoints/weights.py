"""Names and shapes of the tensors a model needs, whatever layout its checkpoint is written in.

Canonical names: `language_model.{embed_tokens.weight, layers.N..., norm.weight}`, `lm_head.weight`,
`vision_tower.{embeddings..., pre_layrnorm..., encoder.layers.N...}`, `multi_modal_projector.linear_{1,2}...`
and `image_newline`. Experts are `...mlp.experts.E.{w1,w2,w3}.weight` one by one, or two fused tensors a layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import CheckpointError
from .checkpoint import ModelConfig, TextConfig, VisionConfig

Shape = tuple[int, ...]

# In order; each is applied once. The original LLaVA files call the projector mm_projector and nest the tower.
_RENAMES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^model\.(?=(language_model|vision_tower|multi_modal_projector|mm_projector|image_newline)\b)", ""),
        (r"^language_model\.lm_head\.", "lm_head."),
        (r"^language_model\.model\.", "language_model."),
        (r"^model\.(?=(embed_tokens|layers|norm)\.)", "language_model."),
        (r"^vision_tower\.vision_tower\.", "vision_tower."),
        (r"^vision_tower\.vision_model\.", "vision_tower."),
        (r"^mm_projector\.0\.", "multi_modal_projector.linear_1."),
        (r"^mm_projector\.2\.", "multi_modal_projector.linear_2."),
        (r"\.block_sparse_moe\.", ".mlp."),
    )
)
_BUFFERS = re.compile(r"(\.inv_freq|\.position_ids)$")


def canonical_name(name: str) -> str:
    """The canonical form of a tensor name in any published layout (see the module's text)."""
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name, count=1)
    return name


def expected_tensors(config: ModelConfig, fused_experts: bool = False) -> dict[str, Shape]:
    """Canonical name to shape of every tensor that is used."""
    shapes = _decoder_tensors(config.text, fused_experts)
    if config.vision is not None:
        shapes |= _tower_tensors(config.vision, config.vision_layers_used)
        shapes |= _projector_tensors(config, config.vision)
    return shapes


def check_tensors(config: ModelConfig, found: dict[str, Shape], source: str) -> dict[str, Shape]:
    """The tensors to load, after comparing `found` (canonical name to shape) with what the config implies.

    Raises CheckpointError naming the first missing, unexpected or misshapen tensor.
    """
    expected = expected_tensors(config, has_fused_experts(found))
    missing = [name for name in expected if name not in found]
    if missing:
        raise CheckpointError(
            f"{source}: {len(missing)} of {len(expected)} tensors missing, first {missing[0]}; "
            "the weights do not belong to this config.json"
        )
    unexpected = [name for name in found if name not in expected and not is_dead(name, config)]
    if unexpected:
        raise CheckpointError(
            f"{source}: {len(unexpected)} tensors that config.json does not explain, first {unexpected[0]}"
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise CheckpointError(
                f"{source}: {name} has shape {list(found[name])}, config.json asks for {list(shape)}"
            )
    return expected


def has_fused_experts(names: Iterable[str]) -> bool:
    return any(name.endswith(".experts.gate_up_proj") for name in names)


def is_dead(name: str, config: ModelConfig) -> bool:
    """True for tensors that checkpoints carry and nobody uses: buffers, tied heads, the tower's end."""
    if _BUFFERS.search(name) or (name == "lm_head.weight" and config.text.tied):
        return True
    if config.vision is None:
        return False
    layer = re.match(r"vision_tower\.encoder\.layers\.(\d+)\.", name)
    if layer is not None:
        return config.vision_layers_used <= int(layer.group(1)) < config.vision.layers
    return name.startswith("vision_tower.post_layernorm.")


def _decoder_tensors(text: TextConfig, fused_experts: bool) -> dict[str, Shape]:
    H, D = text.hidden, text.head_dim
    shapes: dict[str, Shape] = {"language_model.embed_tokens.weight": (text.vocab, H)}
    for number in range(text.layers):
        layer = f"language_model.layers.{number}."
        shapes |= {
            layer + "input_layernorm.weight": (H,),
            layer + "self_attn.q_proj.weight": (text.heads * D, H),
            layer + "self_attn.k_proj.weight": (text.kv_heads * D, H),
            layer + "self_attn.v_proj.weight": (text.kv_heads * D, H),
            layer + "self_attn.o_proj.weight": (H, text.heads * D),
            layer + "post_attention_layernorm.weight": (H,),
        }
        shapes |= _mlp_tensors(text, layer + "mlp.", fused_experts)
    shapes["language_model.norm.weight"] = (H,)
    if not text.tied:
        shapes["lm_head.weight"] = (text.vocab, H)
    return shapes


def _mlp_tensors(text: TextConfig, mlp: str, fused_experts: bool) -> dict[str, Shape]:
    H, F, E = text.hidden, text.intermediate, text.experts
    if not E:
        return {
            mlp + "gate_proj.weight": (F, H),
            mlp + "up_proj.weight": (F, H),
            mlp + "down_proj.weight": (H, F),
        }
    shapes: dict[str, Shape] = {mlp + "gate.weight": (E, H)}
    if fused_experts:
        return shapes | {mlp + "experts.gate_up_proj": (E, 2 * F, H), mlp + "experts.down_proj": (E, H, F)}
    for expert in range(E):
        one = f"{mlp}experts.{expert}."
        shapes |= {one + "w1.weight": (F, H), one + "w3.weight": (F, H), one + "w2.weight": (H, F)}
    return shapes


def _tower_tensors(vision: VisionConfig, layers: int) -> dict[str, Shape]:
    H, F, P = vision.hidden, vision.intermediate, vision.patch_size
    shapes: dict[str, Shape] = {
        "vision_tower.embeddings.class_embedding": (H,),
        "vision_tower.embeddings.patch_embedding.weight": (H, 3, P, P),
        "vision_tower.embeddings.position_embedding.weight": (vision.tokens + 1, H),
        "vision_tower.pre_layrnorm.weight": (H,),
        "vision_tower.pre_layrnorm.bias": (H,),
    }
    for number in range(layers):
        layer = f"vision_tower.encoder.layers.{number}."
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}{norm}.weight": (H,), f"{layer}{norm}.bias": (H,)}
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _affine(f"{layer}self_attn.{projection}", H, H)
        shapes |= _affine(layer + "mlp.fc1", F, H) | _affine(layer + "mlp.fc2", H, F)
    return shapes


def _projector_tensors(config: ModelConfig, vision: VisionConfig) -> dict[str, Shape]:
    H = config.text.hidden
    shapes = _affine("multi_modal_projector.linear_1", H, vision.hidden, config.projector_bias)
    shapes |= _affine("multi_modal_projector.linear_2", H, H, config.projector_bias)
    if config.grid_pinpoints:
        shapes["image_newline"] = (H,)
    return shapes


def _affine(name: str, rows: int, columns: int, bias: bool = True) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {name + ".weight": (rows, columns)}
    if bias:
        shapes[name + ".bias"] = (rows,)
    return shapes
