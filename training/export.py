"""Writing a trained network as an ordinary Hugging Face checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training import shapes
from training.network import Decoder, Llava
from training.tokenizer import LLAVA_15_TEMPLATE, LLAVA_16_TEMPLATE, MIXTRAL_TEMPLATE, write_tokenizer

MODELS = Path(__file__).parents[1] / "src" / "triptych" / "embedded" / "models"
_GENERATION = {"bos_token_id": shapes.BOS, "eos_token_id": shapes.EOS, "do_sample": False}


def expand_kv_heads(state: dict[str, Tensor], heads: int, kv_heads: int) -> dict[str, Tensor]:
    """Give every query head a key/value head of its own by copying: the same function, Llama's plain attention."""
    wide = {}
    for name, weight in state.items():
        if ".self_attn.k_proj." in name or ".self_attn.v_proj." in name:
            size = weight.shape[0] // kv_heads
            weight = weight.view(kv_heads, size, -1).repeat_interleave(heads // kv_heads, 0).reshape(heads * size, -1)
        wide[name] = weight
    return wide


def llava_state(network: Llava, anyres: bool) -> dict[str, Tensor]:
    """Weights under their hub names.

    The last tower layer, which nothing reads, is written as zeros: it compresses to nothing.
    """
    state = {}
    unread = f"encoder.layers.{shapes.VISION.layers - 1}."
    for name, weight in network.state_dict().items():
        name = name.replace("vision_model.patch.weight", "vision_model.embeddings.patch_embedding.weight")
        name = name.replace("vision_model.position", "vision_model.embeddings.position_embedding.weight")
        if name == "image_newline" and not anyres:
            continue
        state[name] = torch.zeros_like(weight) if unread in name else weight
    if not anyres:
        text = {name: weight for name, weight in state.items() if name.startswith("language_model.")}
        state |= expand_kv_heads(text, shapes.LLAMA.kv_heads, network.language_model.shape.kv_heads)
    return state


def collapse_kv_heads(state: dict[str, Tensor], heads: int, kv_heads: int) -> dict[str, Tensor]:
    """Undo `expand_kv_heads`: keep the mean of the heads that began as copies."""
    narrow = {}
    for name, weight in state.items():
        if ".self_attn.k_proj." in name or ".self_attn.v_proj." in name:
            size = weight.shape[0] // heads
            weight = weight.view(kv_heads, heads // kv_heads, size, -1).mean(1).reshape(kv_heads * size, -1)
        narrow[name] = weight
    return narrow


def read_llava(folder: Path) -> dict[str, Tensor]:
    """Read what `write_llava` wrote, under the network's names, in float32; for training that goes on from there."""
    state = {name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()}
    if "image_newline" not in state:
        text = {name: weight for name, weight in state.items() if name.startswith("language_model.")}
        state |= collapse_kv_heads(text, shapes.LLAMA.kv_heads, shapes.MISTRAL.kv_heads)
    renamed = {}
    for name, weight in state.items():
        name = name.replace("vision_model.embeddings.patch_embedding.weight", "vision_model.patch.weight")
        renamed[name.replace("vision_model.embeddings.position_embedding.weight", "vision_model.position")] = weight
    return renamed


def write_llava(network: Llava, folder: Path, anyres: bool, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write LLaVA 1.5 (`anyres` False) or 1.6 into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = shapes.MISTRAL if anyres else shapes.LLAMA
    _write_weights(folder, llava_state(network, anyres), dtype)
    _write_json(folder / "config.json", shapes.llava_config(text, anyres, _name(dtype)))
    _write_json(folder / "generation_config.json", _GENERATION | {"pad_token_id": shapes.PAD_TOKEN})
    _write_json(folder / "preprocessor_config.json", shapes.preprocessor_config(anyres))
    _write_json(folder / "processor_config.json", shapes.processor_config(anyres))
    write_tokenizer(folder, LLAVA_16_TEMPLATE if anyres else LLAVA_15_TEMPLATE, images=True)


def write_mixtral(network: Decoder, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write the sparse text model into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_weights(folder, network.state_dict(), dtype)
    _write_json(folder / "config.json", shapes.mixtral_config(network.shape, _name(dtype)))
    _write_json(folder / "generation_config.json", _GENERATION)
    write_tokenizer(folder, MIXTRAL_TEMPLATE, images=False)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _write_weights(folder: Path, state: dict[str, Tensor], dtype: torch.dtype) -> None:
    tensors = {name: weight.detach().to("cpu", dtype).contiguous().clone() for name, weight in state.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
