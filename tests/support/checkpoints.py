"""Small random checkpoints of every architecture and weight layout, as ordinary Hugging Face folders.

`make_llava15`, `make_llava16`, `make_mixtral`, `make_llama` and `make_mistral` write config, weights,
tokenizer, chat template and processor files, so that the whole engine (and transformers) can open the folder.
Weights are drawn so that logits have a standard deviation near 1: transformers' own initialisation is so small
that it hides errors.

Layouts: "hub" (the names of the published LLaVA files), "memory" (names of transformers 4.52 and later), "v5"
(what transformers 5 saves by default) and "v5-raw" (`save_original_format=False`; fused Mixtral experts).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from chat_templates import INSTRUCT_TEMPLATE, LLAVA15_TEMPLATE, LLAVA16_TEMPLATE
from safetensors.torch import load_file, save_file

LAYOUTS = ("hub", "memory", "v5", "v5-raw")
IMAGE_TOKEN, PAD_TOKEN, VOCAB = 300, 301, 320

VISION: dict[str, Any] = {
    "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "image_size": 28, "patch_size": 14,
}
TEXT: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
}
MISTRAL: dict[str, Any] = {
    "model_type": "mistral", "num_key_value_heads": 2, "rope_theta": 1e6, "sliding_window": None,
}
Section = dict[str, Any] | None
PINPOINTS = [[1, 2], [2, 1], [2, 2], [3, 1], [1, 3]]  # canvases in tiles, (rows, columns)


def make_llava15(
    folder: str | Path, *, vision: Section = None, text: Section = None, **over: Any
) -> Path:
    """A LLaVA 1.5 checkpoint: CLIP tower, projector, Llama. `over` as in `write_checkpoint`."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    tower = {**VISION, **(vision or {})}
    config = LlavaConfig(
        vision_config=tower, text_config={**TEXT, **(text or {})}, image_token_index=IMAGE_TOKEN,
        image_seq_length=(tower["image_size"] // tower["patch_size"]) ** 2,
    )
    folder = write_checkpoint(folder, config, LlavaForConditionalGeneration, chat=LLAVA15_TEMPLATE, **over)
    side = tower["image_size"]
    _write(folder / "preprocessor_config.json", {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": side}, **_clip_steps(side),
    })
    _write(folder / "processor_config.json", _processor("LlavaProcessor", tower["patch_size"]))
    return folder


def make_llava16(
    folder: str | Path, *, vision: Section = None, text: Section = None, **over: Any
) -> Path:
    """A LLaVA 1.6 checkpoint: CLIP tower, projector, newline, Mistral (Llama: `text={"model_type": "llama"}`)."""
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

    tower = {**VISION, **(vision or {})}
    side = tower["image_size"]
    pinpoints = [[rows * side, columns * side] for rows, columns in PINPOINTS]
    words = {**TEXT, **MISTRAL, **(text or {})}
    config = LlavaNextConfig(
        vision_config=tower, text_config=words, image_token_index=IMAGE_TOKEN, image_grid_pinpoints=pinpoints,
        image_seq_length=(side // tower["patch_size"]) ** 2,
    )
    template = LLAVA16_TEMPLATE if words["model_type"] == "mistral" else LLAVA15_TEMPLATE
    folder = write_checkpoint(folder, config, LlavaNextForConditionalGeneration, chat=template, **over)
    _write(folder / "preprocessor_config.json", {
        "image_processor_type": "LlavaNextImageProcessor", "size": {"shortest_edge": side}, "do_pad": True,
        "image_grid_pinpoints": pinpoints, **_clip_steps(side),
    })
    _write(folder / "processor_config.json", _processor("LlavaNextProcessor", tower["patch_size"]))
    return folder


def make_llama(folder: str | Path, *, text: Section = None, **over: Any) -> Path:
    """A plain Llama (Vicuna) checkpoint."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**_plain(text))
    return write_checkpoint(folder, config, LlamaForCausalLM, chat=LLAVA15_TEMPLATE, **over)


def make_mistral(folder: str | Path, *, text: Section = None, **over: Any) -> Path:
    """A plain Mistral checkpoint."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(**_plain({**MISTRAL, **(text or {})}))
    return write_checkpoint(folder, config, MistralForCausalLM, chat=INSTRUCT_TEMPLATE, **over)


def make_mixtral(folder: str | Path, *, text: Section = None, **over: Any) -> Path:
    """A Mixtral checkpoint of 8 experts; layout "v5" has them one by one as on the hub, "v5-raw" fused."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(**_plain({"num_key_value_heads": 2, "sliding_window": None, **(text or {})}))
    return write_checkpoint(folder, config, MixtralForCausalLM, chat=INSTRUCT_TEMPLATE, **over)


def write_checkpoint(
    folder: str | Path, config: Any, model_class: Any, *, chat: str, layout: str = "v5", seed: int = 0,
    dtype: torch.dtype = torch.float32, max_shard_size: str = "5GB", tokenizer: bool = True,
) -> Path:
    """Draw weights for `config` and save them in `layout`; `max_shard_size="100KB"` makes several shards."""
    folder = Path(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(config).eval()
        redraw(model)
    model.to(dtype).save_pretrained(
        folder, save_original_format=layout != "v5-raw", max_shard_size=max_shard_size
    )
    if layout in ("hub", "memory"):
        _rename_saved(folder, _HUB if layout == "hub" else _MEMORY)
    if tokenizer:
        write_tokenizer(folder, chat)
    return folder


@torch.no_grad()
def redraw(model: torch.nn.Module) -> None:
    """Weights of deviation fan_in^-0.5, embeddings 1, norms 1 +- 0.1, biases and newline non-zero."""
    for name, tensor in model.named_parameters():
        drawn = torch.randn(tensor.shape)
        if name.endswith("bias"):
            drawn *= 0.1
        elif "norm" in name:
            drawn = 1 + 0.1 * drawn
        elif "patch_embedding" in name:
            drawn *= tensor[0].numel() ** -0.5
        elif tensor.dim() >= 2 and "embed" not in name:
            drawn *= tensor.shape[-1] ** -0.5
        tensor.copy_(drawn)


_HUB = {"vision_tower.": "vision_tower.vision_model."}
_MEMORY = {
    "language_model.lm_head.": "lm_head.", "language_model.model.": "model.language_model.",
    "vision_tower.": "model.vision_tower.vision_model.",
    "multi_modal_projector.": "model.multi_modal_projector.",
    "image_newline": "model.image_newline",
}


def _rename_saved(folder: Path, prefixes: dict[str, str]) -> None:
    def renamed(name: str) -> str:
        for old, new in prefixes.items():
            if name.startswith(old):
                return new + name[len(old):]
        return name

    for file in sorted(folder.glob("*.safetensors")):
        tensors = {renamed(name): tensor for name, tensor in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})
    index = folder / "model.safetensors.index.json"
    if index.exists():
        content = json.loads(index.read_text())
        content["weight_map"] = {renamed(name): shard for name, shard in content["weight_map"].items()}
        _write(index, content)


def write_tokenizer(folder: Path, chat: str) -> None:
    """A byte-fallback BPE tokenizer of 302 pieces in the Llama style, with `<image>` 300 and `<pad>` 301."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    pieces += list("etaoinshrdlcumwfgypbvkjxqz")
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e"), ("▁", "a"), ("i", "n"), ("r", "e"), ("▁", "s"),
              ("o", "n"), ("e", "d"), ("▁", "c"), ("o", "r"), ("▁", "r"), ("a", "t"), ("e", "s")]
    pieces += [left + right for left, right in merges]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
    ])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    special = ["<unk>", "<s>", "</s>", "<image>", "<pad>"]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "pad_token": "<pad>", "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": chat,
    })
    _write(folder / "chat_template.json", {"chat_template": chat})


def edit_config(folder: str | Path, file: str = "config.json", **values: Any) -> None:
    """Set (or with `...` remove) keys of a JSON file of the folder; "a.b" reaches into a section."""
    path = Path(folder) / file
    content = json.loads(path.read_text())
    for dotted, value in values.items():
        *sections, key = dotted.split(".")
        target = content
        for section in sections:
            target = target[section]
        if value is ...:
            target.pop(key, None)
        else:
            target[key] = value
    _write(path, content)


def _plain(over: Section) -> dict[str, Any]:
    return {key: value for key, value in {**TEXT, **(over or {})}.items() if key != "model_type"}


def _clip_steps(side: int) -> dict[str, Any]:
    return {
        "crop_size": {"height": side, "width": side}, "do_center_crop": True, "do_convert_rgb": True,
        "do_normalize": True, "do_rescale": True, "do_resize": True, "rescale_factor": 0.00392156862745098,
        "resample": 3, "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }


def _processor(name: str, patch: int) -> dict[str, Any]:
    return {
        "image_token": "<image>", "num_additional_image_tokens": 1, "patch_size": patch,
        "processor_class": name, "vision_feature_select_strategy": "default",
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
