"""Random checkpoints of fixed shapes, written as ordinary Hugging Face folders. Weights are noise: speed is real.

S     LLaVA 1.5 class, 0.46 B parameters: CLIP ViT-L/14-336 with 12 layers, Llama of 16 x 1024, FFN 3584
M     the widths of a real 7B, 2.33 B: CLIP of 24 layers, 8 x 4096, 32/8 heads, FFN 14336
S16   S as LLaVA 1.6 (any resolution)
X     Mixtral's widths, 2 layers, 8 experts of which 2 are used, 3.17 B, text only
tiny  a few hundred thousand parameters, for what does not depend on size
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
import checkpoints as support
from chat_templates import INSTRUCT_TEMPLATE, LLAVA15_TEMPLATE, LLAVA16_TEMPLATE

SHAPES = ("S", "M", "S16", "X")
VOCAB, IMAGE_TOKEN, SIDE = 32064, 300, 336
SHARD = 2 << 30

_TEXT: dict[str, dict[str, int]] = {
    "S": {"hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": 16, "num_attention_heads": 8,
          "num_key_value_heads": 8},
    "M": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 8, "num_attention_heads": 32,
          "num_key_value_heads": 8},
    "X": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 2, "num_attention_heads": 32,
          "num_key_value_heads": 8},
}  # fmt: skip
_TEXT["S16"] = _TEXT["S"]


def write(shape: str, folder: Path) -> Path:
    """The checkpoint of `shape` in bf16 in `folder`, unless it is there already."""
    done = folder / "complete"
    if shape == "tiny" and not done.exists():
        support.make_llava16(folder, vision={"image_size": SIDE}, text={"max_position_embeddings": 4096})
        done.touch()
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write_weights(_config(shape), shape, folder)
        template = {"S16": LLAVA16_TEMPLATE, "X": INSTRUCT_TEMPLATE}.get(shape, LLAVA15_TEMPLATE)
        support.write_tokenizer(folder, template)
        _write_processor(shape, folder)
        done.touch()
    return folder


def _config(shape: str) -> Any:
    from transformers import LlavaConfig, LlavaNextConfig, MixtralConfig

    text = {**_TEXT[shape], "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096,
            "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
    if shape == "X":
        return MixtralConfig(**text, sliding_window=None)
    vision = {
        "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "image_size": SIDE,
        "num_hidden_layers": 24 if shape == "M" else 12, "num_attention_heads": 16, "patch_size": 14,
    }  # fmt: skip
    common = {"vision_config": vision, "image_token_index": IMAGE_TOKEN, "image_seq_length": 576}
    if shape == "S16":
        mistral = {**text, "model_type": "mistral", "sliding_window": None}
        return LlavaNextConfig(text_config=mistral, image_grid_pinpoints=_pinpoints(), **common)
    return LlavaConfig(text_config={**text, "model_type": "llama"}, **common)


def _pinpoints() -> list[list[int]]:
    return [[rows * SIDE, columns * SIDE] for rows, columns in support.PINPOINTS]


def _write_weights(config: Any, shape: str, folder: Path) -> None:
    """Names as transformers has them in memory, which both sides read; values cut from one block of noise."""
    from transformers import LlavaForConditionalGeneration, LlavaNextForConditionalGeneration, MixtralForCausalLM

    kind = {"X": MixtralForCausalLM, "S16": LlavaNextForConditionalGeneration}
    with torch.device("meta"):
        model = kind.get(shape, LlavaForConditionalGeneration)(config)
    noise = torch.randn((1 << 24) + 4099, generator=torch.Generator().manual_seed(0))
    shards: list[dict[str, torch.Tensor]] = [{}]
    room, weight_map = SHARD, {}
    for name, parameter in model.named_parameters():
        size = 2 * parameter.numel()
        if size > room and shards[-1]:
            _save(shards, folder)
            shards.append({})
            room = SHARD
        room -= size
        shards[-1][name] = _noise(noise, name, parameter.shape)
        weight_map[name] = _shard_name(len(shards) - 1)
    _save(shards, folder)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config.dtype = torch.bfloat16
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)


def _noise(noise: torch.Tensor, name: str, shape: torch.Size) -> torch.Tensor:
    """Deviation fan_in^-0.5 (norms 1, biases 0, embeddings 1), so that activations stay in a usual range."""
    if "norm" in name or name.endswith("bias"):
        return torch.full(shape, float("norm" in name and not name.endswith("bias")), dtype=torch.bfloat16)
    start = hash(name) % 4096
    deviation = 1.0 if "embed" in name and "patch" not in name else shape[1:].numel() ** -0.5
    if len(shape) == 3:
        deviation = shape[-1] ** -0.5
    block = (noise[start : start + (1 << 24)] * deviation).bfloat16()
    count = shape.numel()
    return block.repeat(-(-count // len(block)))[:count].reshape(shape).clone()


def _save(shards: list[dict[str, torch.Tensor]], folder: Path) -> None:
    save_file(shards[-1], folder / _shard_name(len(shards) - 1), metadata={"format": "pt"})
    shards[-1] = {"": torch.empty(0)}


def _shard_name(number: int) -> str:
    return f"model-{number:05d}.safetensors"


def _write_processor(shape: str, folder: Path) -> None:
    if shape == "X":
        return
    steps = {"size": {"shortest_edge": SIDE}, **support._clip_steps(SIDE)}
    name = "LlavaNext" if shape == "S16" else "Llava"
    if shape == "S16":
        steps |= {"image_processor_type": "LlavaNextImageProcessor", "do_pad": True,
                  "image_grid_pinpoints": _pinpoints()}  # fmt: skip
    else:
        steps["image_processor_type"] = "CLIPImageProcessor"
    (folder / "preprocessor_config.json").write_text(json.dumps(steps))
    (folder / "processor_config.json").write_text(json.dumps(support._processor(f"{name}Processor", 14)))
