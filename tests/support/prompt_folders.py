"""Checkpoint folders without weights: config, tokenizer, chat template and processor files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chat_templates import INSTRUCT_TEMPLATE, LLAVA15_TEMPLATE, LLAVA16_TEMPLATE
from picture_files import pinpoints, write_processor
from small_tokenizer import SPACE, small_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from triptych.engine.checkpoints.checkpoint import ModelConfig
from triptych.engine.imaging.preprocess import Preprocessor
from triptych.engine.prompting import tokenizer as engine_tokenizer
from triptych.engine.prompting.prompt import PromptBuilder

SIDE = 28
SPECIAL = ("<unk>", "<s>", "</s>", "<image>", "<pad>")
TEMPLATES = {
    "llava": LLAVA15_TEMPLATE, "llava_next": LLAVA16_TEMPLATE, "mistral": INSTRUCT_TEMPLATE,
    "mixtral": INSTRUCT_TEMPLATE, "llama": LLAVA15_TEMPLATE,
}  # fmt: skip


def legacy() -> Tokenizer:
    """As the hub's files of 2023: a space before every stretch of text between special tokens."""
    tokenizer = small_tokenizer()
    tokenizer.post_processor = _begin(1)
    return tokenizer


def first_only() -> Tokenizer:
    """As newer conversions: a space before the first stretch alone."""
    tokenizer = legacy()
    tokenizer.normalizer = None  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="first", split=False)
    return tokenizer


def normalised() -> Tokenizer:
    """Special tokens that are looked for after normalisation, and one that swallows the spaces around it."""
    tokenizer = Tokenizer.from_str(legacy().to_str())
    content = json.loads(tokenizer.to_str())
    for token in content["added_tokens"]:
        token["normalized"] = token["content"] in ("<s>", "</s>")
        token["lstrip"] = token["rstrip"] = token["content"] == "<pad>"
    return Tokenizer.from_str(json.dumps(content))


def byte_level() -> Tokenizer:
    """As GPT-2's: bytes as letters, no leading space, merges that end inside characters."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    vocab = {piece: number for number, piece in enumerate([*SPECIAL[:3], *sorted(letters)])}
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ã", "©"), ("ä", "½")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    tokenizer.post_processor = _begin(1)
    return tokenizer


TOKENIZERS = {"legacy": legacy, "first-only": first_only, "normalised": normalised, "byte-level": byte_level}


def make_folder(
    folder: Path, architecture: str, style: str = "legacy", template: str | None = "own", **settings: Any
) -> Path:
    """`template`: "own" for the published one, None for none, else Jinja; `settings`: tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = TOKENIZERS[style]()
    tokenizer.save(str(folder / "tokenizer.json"))
    source = TEMPLATES[architecture] if template == "own" else template
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    content: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **names, **settings}
    if source is not None and not architecture.startswith("llava"):
        content["chat_template"] = source
    _write(folder / "tokenizer_config.json", content)
    image = tokenizer.token_to_id("<image>")
    _write(folder / "config.json", _config(architecture, tokenizer.get_vocab_size(), image))
    if architecture.startswith("llava"):
        if source is not None:
            _write(folder / "chat_template.json", {"chat_template": source})
        kind = "LlavaNextImageProcessor" if architecture == "llava_next" else "CLIPImageProcessor"
        write_processor(folder, kind, SIDE)
        _write(folder / "processor_config.json", {
            "processor_class": "LlavaNextProcessor" if architecture == "llava_next" else "LlavaProcessor",
            "image_token": "<image>", "num_additional_image_tokens": 1, "patch_size": 14,
            "vision_feature_select_strategy": "default",
        })  # fmt: skip
    return folder


def open_builder(folder: Path, max_context: int = 4096, **over: Any) -> PromptBuilder:
    config = ModelConfig.from_folder(folder)
    preprocessor = Preprocessor.from_folder(folder, config) if config.vision else None
    tokenizer = engine_tokenizer.Tokenizer.from_folder(folder)
    return PromptBuilder.from_folder(folder, tokenizer, preprocessor, config, max_context, **over)


def _begin(bos: int) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", bos)])


def _config(architecture: str, vocab: int, image: int) -> dict[str, Any]:
    sizes = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2 if architecture in ("llava", "llama") else 1, "vocab_size": vocab,
        "max_position_embeddings": 4096, "sliding_window": None,
    }  # fmt: skip
    if not architecture.startswith("llava"):
        return {"model_type": architecture, "bos_token_id": 1, "eos_token_id": 2, **sizes}
    vision = {
        "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": SIDE, "patch_size": 14,
    }  # fmt: skip
    text = {"model_type": "mistral" if architecture == "llava_next" else "llama", **sizes}
    content = {"model_type": architecture, "text_config": text, "vision_config": vision, "image_token_index": image}
    return content | ({"image_grid_pinpoints": pinpoints(SIDE)} if architecture == "llava_next" else {})


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content))


