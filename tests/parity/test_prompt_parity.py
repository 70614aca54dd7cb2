"""Rendered text and token ids equal to transformers' processors and tokenizers on the same folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from picture_files import noise
from prompt_folders import TOKENIZERS, make_folder, open_builder
from transformers import AutoProcessor, AutoTokenizer
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from triptych.engine.images import open_image
from triptych.engine.tokenizer import Tokenizer

TEXTS = [
    "", " ", "a", " a", "a ", "  two  spaces ", "the red the red", "What is shown in this image?", "tab\there",
    "line\nbreak", "\n", "\n\n  indented\n    more", "é", "naïve café", "你好，世界", "emoji 👍🏽 end", "a\u00a0b",
    "\ufeffx", "<", "<<>>", "</", "a < b > c", "<b>bold</b>", "[INST] x [/INST]", "<<SYS>>", "USER: x ASSISTANT: y",
    "▁a ▁", "\x00\x01", "mixed▁the red\u200bthe", "end\n",
]  # fmt: skip
PICTURES = [noise(61, 40), noise(40, 61)]


def parts(*contents: Any) -> list[dict[str, str]]:
    return [{"type": "image"} if part is None else {"type": "text", "text": part} for part in contents]


CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one question": [{"role": "user", "content": parts(None, "What is shown?")}],
    "text before the image": [{"role": "user", "content": parts("Look:", None)}],
    "two images": [{"role": "user", "content": parts(None, "and", None, "differ how?")}],
    "no image": [{"role": "user", "content": parts("Hello there")}],
    "system": [
        {"role": "system", "content": parts("Be brief.")},
        {"role": "user", "content": parts(None, "  What?\n")},
    ],
    "several turns": [
        {"role": "user", "content": parts(None, "What?")},
        {"role": "assistant", "content": parts("A cat.")},
        {"role": "user", "content": parts("Sure?", None)},
        {"role": "assistant", "content": parts(" Yes\n")},
        {"role": "user", "content": parts("")},
    ],
}
PREFILLED: dict[str, list[dict[str, Any]]] = {
    "begun answer": [
        {"role": "user", "content": parts(None, "What?")},
        {"role": "assistant", "content": parts("It is")},
    ],
    "begun answer with a space": [
        {"role": "user", "content": parts(None, "What?")},
        {"role": "assistant", "content": parts("It is ")},
    ],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    root = tmp_path_factory.mktemp("folders")
    return {
        (kind, style): make_folder(root / kind / style, kind, style)
        for kind in ("llava", "llava_next", "mixtral", "mistral")
        for style in TOKENIZERS
    }


@pytest.mark.parametrize("style", list(TOKENIZERS))
@pytest.mark.parametrize("kind", ["llava", "llava_next"])
@pytest.mark.parametrize("name", [*CONVERSATIONS, *PREFILLED])
def test_conversations_with_images(
    kind: str, style: str, name: str, folders: dict[tuple[str, str], Path]
) -> None:
    folder = folders[kind, style]
    messages = CONVERSATIONS.get(name) or PREFILLED[name]
    count = sum(part["type"] == "image" for message in messages for part in message["content"])
    pictures = PICTURES[:count]
    processor = AutoProcessor.from_pretrained(folder)
    ending = {"continue_final_message": True} if name in PREFILLED else {"add_generation_prompt": True}
    text = processor.apply_chat_template(messages, **ending)
    expected = processor(text=text, images=pictures or None, return_tensors="np")["input_ids"][0].tolist()
    prompt = open_builder(folder).chat(messages, [open_image(picture) for picture in pictures])
    assert prompt.text == text
    assert list(prompt.token_ids) == expected
    assert len(prompt.spans) == count


@pytest.mark.parametrize("style", list(TOKENIZERS))
@pytest.mark.parametrize("kind", ["mixtral", "mistral"])
def test_text_conversations(kind: str, style: str, folders: dict[tuple[str, str], Path]) -> None:
    folder = folders[kind, style]
    tokenizer, builder = AutoTokenizer.from_pretrained(folder), open_builder(folder)
    for user in TEXTS:
        messages = [
            {"role": "user", "content": user},
            {"role": "assistant", "content": "Hi there!"},
            {"role": "user", "content": "And you?" + user},
        ]
        expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        prompt = builder.chat(messages)
        assert list(prompt.token_ids) == list(expected), user
        assert prompt.token_ids.count(1) == 1  # BOS, which the template writes and the tokenizer would add


@pytest.mark.parametrize("style", list(TOKENIZERS))
def test_raw_texts(style: str, folders: dict[tuple[str, str], Path]) -> None:
    folder = folders["mixtral", style]
    theirs, ours = AutoTokenizer.from_pretrained(folder), Tokenizer.from_folder(folder)
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ours.encode(text) == ids, text
        assert ours.encode(f"<s>{text}</s>") == theirs(f"<s>{text}</s>", add_special_tokens=False)["input_ids"]
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True), text


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"add_bos_token": True}, {"add_bos_token": False}, {"add_eos_token": False},
        {"add_bos_token": True, "bos_token": {"content": "<s>", "__type": "AddedToken", "special": True}},
        {"added_tokens_decoder": {"1": {"content": "<s>", "special": True}}},
    ],
)  # fmt: skip
def test_who_adds_bos(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "mistral", **settings)
    theirs, ours = AutoTokenizer.from_pretrained(folder), Tokenizer.from_folder(folder)
    assert ours.encode("the red") == theirs("the red")["input_ids"]


def test_plain_llama_follows_its_file(tmp_path: Path) -> None:
    """transformers rebuilds the tokenizer of `llama` folders and ignores the file; the file is what was trained."""
    folder = make_folder(tmp_path, "llama")
    theirs = TokenizersBackend.from_pretrained(folder)
    ours = Tokenizer.from_folder(folder)
    assert ours.encode("a</s> b") == theirs("a</s> b")["input_ids"]
