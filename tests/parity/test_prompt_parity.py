"""Rendered text and token ids equal to transformers' processors and tokenizers on the same folder."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from picture_files import noise
from PIL import Image
from prompt_folders import TOKENIZERS, make_folder, open_builder

from triptych.engine.imaging.images import open_image
from triptych.engine.prompting.chat_template import ChatTemplate
from triptych.engine.prompting.tokenizer import Tokenizer

TEXTS = [
    "", " ", "a", " a", "a ", "  two  spaces ", "the red the red", "What is shown in this image?", "tab\there",
    "line\nbreak", "\n", "\n\n  indented\n    more", "é", "naïve café", "你好，世界", "emoji 👍🏽 end", "a\u00a0b",
    "\ufeffx", "<", "<<>>", "</", "a < b > c", "<b>bold</b>", "[INST] x [/INST]", "<<SYS>>", "USER: x ASSISTANT: y",
    "▁a ▁", "\x00\x01", "mixed▁the red\u200bthe", "end\n",
]  # fmt: skip
Messages = list[dict[str, Any]]
PICTURES = [noise(61, 40), noise(40, 61)]


def parts(*contents: Any) -> list[dict[str, str]]:
    return [{"type": "image"} if part is None else {"type": "text", "text": part} for part in contents]


CONVERSATIONS: dict[str, Messages] = {
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
PREFILLED: dict[str, Messages] = {
    "begun answer": [
        {"role": "user", "content": parts(None, "What?")},
        {"role": "assistant", "content": parts("It is")},
    ],
    "begun answer with a space": [
        {"role": "user", "content": parts(None, "What?")},
        {"role": "assistant", "content": parts("It is ")},
    ],
}


@cache
def processor(folder: Path) -> Any:
    from transformers import AutoProcessor  # here and below: it takes seconds, also where no test of these is run

    return AutoProcessor.from_pretrained(folder)


@cache
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def ids_with_images(folder: Path, messages: Messages, pictures: list[Image.Image], **ending: bool) -> list[int]:
    """What transformers makes of a conversation with pictures."""
    text = processor(folder).apply_chat_template(messages, **(ending or {"add_generation_prompt": True}))
    ids = processor(folder)(text=text, images=pictures or None, return_tensors="np")["input_ids"]
    return ids[0].tolist()


def ids_of_text(folder: Path, messages: Messages) -> list[int]:
    ids = tokenizer(folder).apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    return list(ids["input_ids"])


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
    ending = {"continue_final_message": True} if name in PREFILLED else {"add_generation_prompt": True}
    prompt = open_builder(folder).chat(messages, [open_image(picture) for picture in pictures])
    assert prompt.text == processor(folder).apply_chat_template(messages, **ending)
    assert list(prompt.token_ids) == ids_with_images(folder, messages, pictures, **ending)
    assert len(prompt.spans) == count


@pytest.mark.parametrize("style", list(TOKENIZERS))
@pytest.mark.parametrize("kind", ["mixtral", "mistral"])
def test_text_conversations(kind: str, style: str, folders: dict[tuple[str, str], Path]) -> None:
    folder = folders[kind, style]
    builder = open_builder(folder)
    for user in TEXTS:
        messages = [
            {"role": "user", "content": user},
            {"role": "assistant", "content": "Hi there!"},
            {"role": "user", "content": "And you?" + user},
        ]
        prompt = builder.chat(messages)
        assert list(prompt.token_ids) == ids_of_text(folder, messages), user
        assert prompt.token_ids.count(1) == 1  # BOS, which the template writes and the tokenizer would add


@pytest.mark.parametrize("style", list(TOKENIZERS))
def test_raw_texts(style: str, folders: dict[tuple[str, str], Path]) -> None:
    folder = folders["mixtral", style]
    theirs, ours = tokenizer(folder), Tokenizer.from_folder(folder)
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
    from transformers import AutoTokenizer

    folder = make_folder(tmp_path, "mistral", **settings)
    theirs, ours = AutoTokenizer.from_pretrained(folder), Tokenizer.from_folder(folder)
    assert ours.encode("the red") == theirs("the red")["input_ids"]


@pytest.mark.parametrize("name", ["tiny-llava-1.5", "tiny-llava-1.6", "tiny-mixtral"])
def test_embedded_models(name: str) -> None:
    folder = Path(str(resources.files("triptych.embedded") / "models" / name))
    builder, vision = open_builder(folder), name != "tiny-mixtral"
    pictures = PICTURES[:1] if vision else []
    for text in ["What is 17 + 25?", "How many objects are there?", "Describe the picture.", *TEXTS]:
        messages = [{"role": "user", "content": parts(None, text) if vision else text}]
        prompt = builder.chat(messages, [open_image(picture) for picture in pictures])
        expected = ids_with_images(folder, messages, pictures) if vision else ids_of_text(folder, messages)
        assert list(prompt.token_ids) == expected, text


def test_plain_llama_follows_its_file(tmp_path: Path) -> None:
    """transformers rebuilds the tokenizer of `llama` folders and ignores the file; the file is what was trained."""
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

    folder = make_folder(tmp_path, "llama")
    theirs = TokenizersBackend.from_pretrained(folder)
    ours = Tokenizer.from_folder(folder)
    assert ours.encode("a</s> b") == theirs("a</s> b")["input_ids"]


def test_templates_have_the_same_helpers() -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    source = (
        "{% for m in messages %}\n  {% if loop.first %}\n{{ bos_token }}{% endif %}\n"
        "    {% generation %}{{ m.content | trim }}{% endgeneration %}\n"
        "{{ m | tojson(indent=1) }}{{ [1, 'é<'] | tojson }}{% if loop.last %}{% break %}{% endif %}{% endfor %}"
        "{% set ns = namespace(n=3) %}{{ ns.n }}{{ add_generation_prompt }}{{ tools }}{{ strftime_now('%%') }}"
    )
    messages = [{"role": "user", "content": " a<b "}, {"role": "assistant", "content": "c"}]
    expected, _ = render_jinja_template(
        [messages], chat_template=source, add_generation_prompt=True, bos_token="<s>"
    )
    assert ChatTemplate(source, {"bos_token": "<s>"}).render(messages) == expected[0].replace("[]", "None")
