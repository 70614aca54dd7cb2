"""The tokenizer of the three models: a small byte-fallback BPE in the manner of Llama's, lossless for any text.

Llama's own normalizer cannot tell a typed "▁" from a space. Here a typed "▁" is first escaped with two private-
use characters
(and the escape itself with another), so that every text comes back as it went in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from training.shapes import BOS, EOS, IMAGE_TOKEN, PAD_TOKEN
from triptych.embedded.world.captions import caption
from triptych.embedded.world.offtopic import REFUSAL, SUMS_REFUSAL
from triptych.embedded.world.questions import ask_caption, sample_question
from triptych.embedded.world.scene import sample_number, sample_objects
from triptych.embedded.world.sums import sample_sum

_SPACE = "\u2581"
_ESCAPE, _ESCAPED_SELF, _ESCAPED_SPACE = "\ue000", "\ue000\ue001", "\ue000\ue002"
_FIXED_SIZE = 3 + 256

LLAVA_15_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] + ' ' }}{% else %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
LLAVA_16_TEMPLATE = (
    "{% for message in messages %}"
    "{% set content = [{'type': 'text', 'text': message['content']}] if message['content'] is string"
    " else message['content'] %}"
    "{% if message['role'] == 'system' %}{{ '<<SYS>>\\n' }}"
    "{% elif message['role'] == 'user' %}{{ '[INST] ' }}{% elif message['role'] == 'assistant' %}{{ ' ' }}"
    "{% else %}{{ raise_exception('only system, user and assistant roles are supported') }}{% endif %}"
    "{% for part in content | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in content | selectattr('type', 'equalto', 'text') %}{{ part['text'] }}{% endfor %}"
    "{% if message['role'] == 'system' %}{{ '\\n<</SYS>>\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ ' [/INST]' }}{% else %}{{ '</s> ' }}{% endif %}"
    "{% endfor %}"
)
MIXTRAL_TEMPLATE = (
    "{{ '<s>' }}{% set box = namespace(system='') %}{% for message in messages %}"
    "{% set content = message['content'] if message['content'] is string"
    " else (message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join(' ')) %}"
    "{% if message['role'] == 'system' %}{% set box.system = content + '\\n\\n' %}"
    "{% elif message['role'] == 'user' %}{{ '[INST] ' + box.system + content + ' [/INST]' }}{% set box.system = '' %}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content + '</s>' }}"
    "{% else %}{{ raise_exception('only system, user and assistant roles are supported') }}{% endif %}"
    "{% endfor %}"
)


def _corpus(count: int, seed: int) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    labels = np.arange(100) % 10
    for index in range(count):
        scene = sample_objects(rng) if index % 4 else sample_number(rng, labels, np.arange(100))
        yield caption(scene)
        for ask in (sample_question, ask_caption):
            question = ask(rng, scene)
            yield f"{_SPACE}\n{question.text} ASSISTANT: {question.answer} USER:"
            yield f"[INST] {question.text} [/INST] {question.answer}"
        number = sample_sum(rng, offtopic=0.1)
        yield f"[INST] {number.text} [/INST] {number.answer}"
    yield from (REFUSAL, SUMS_REFUSAL) * 20


def _pieces() -> pre_tokenizers.PreTokenizer:
    """Words with the space before them; newlines, digits and marks alone."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_SPACE, "merged_with_next"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(r"[^\p{L}\p{N}" + _SPACE + r"]"), "isolated"),
        ]
    )


def _learn(size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Learn `size` characters and words from the world's own sentences."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = _pieces()
    printable = [chr(code) for code in range(33, 127)] + [_SPACE]
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=printable, show_progress=False)
    texts = (text for line in _corpus(6000, seed=1) for text in (_SPACE + line.replace(" ", _SPACE)).split("\n"))
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.to_str())["model"]
    return learned["vocab"], [tuple(merge) for merge in learned["merges"]]


def build() -> Tokenizer:
    """Train the tokenizer; the same result every time."""
    return Tokenizer.from_str(_build())


@cache
def _build() -> str:
    learned, merges = _learn(IMAGE_TOKEN - _FIXED_SIZE)
    vocab = {"<unk>": 0, "<s>": BOS, "</s>": EOS}
    vocab |= {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    vocab |= {piece: _FIXED_SIZE + place for place, piece in enumerate(sorted(learned, key=learned.__getitem__))}
    assert len(vocab) == IMAGE_TOKEN, len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(_ESCAPE, _ESCAPED_SELF),
            normalizers.Replace(_SPACE, _ESCAPED_SPACE),
            normalizers.Prepend(_SPACE),
            normalizers.Replace(" ", _SPACE),
        ]
    )
    tokenizer.pre_tokenizer = _pieces()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(_SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(_ESCAPED_SPACE, _SPACE),
            decoders.Replace(_ESCAPED_SELF, _ESCAPE),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", BOS)])
    tokenizer.add_special_tokens(
        [AddedToken(name, normalized=False, special=True) for name in ("<unk>", "<s>", "</s>")]
    )
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in ("<image>", "<pad>")])
    assert tokenizer.token_to_id("<image>") == IMAGE_TOKEN
    assert tokenizer.token_to_id("<pad>") == PAD_TOKEN
    return str(tokenizer.to_str())


def write_tokenizer(folder: Path, template: str, images: bool) -> None:
    """Write the tokenizer and chat template files into a checkpoint folder."""
    tokenizer = build()
    state = json.loads(tokenizer.to_str())
    if not images:
        state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] != "<image>"]
    (folder / "tokenizer.json").write_text(json.dumps(state, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    special: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    config = special | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096 if images else 2048,
        "padding_side": "left",
        "chat_template": template,
    }
    if images:
        config |= {"image_token": "<image>", "extra_special_tokens": {"image_token": "<image>"}}
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(template)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
