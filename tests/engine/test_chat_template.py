"""Templates: where they come from, what they may do, and what the built-in ones write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_templates import INSTRUCT_TEMPLATE, LLAVA15_TEMPLATE, LLAVA16_TEMPLATE

from triptych.engine.errors import CheckpointError, PromptError
from triptych.engine.prompting.chat_template import BUILTIN, ChatTemplate, builtin_template, read_template

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "image_token": "<image>"}
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


IMAGE = {"type": "image"}
QUESTION = [{"role": "user", "content": [IMAGE, text("What?")]}]
DIALOGUE = [
    {"role": "system", "content": [text("Be brief.")]},
    {"role": "user", "content": [text("Look:"), IMAGE]},
    {"role": "assistant", "content": [text("A cat.")]},
    {"role": "user", "content": [text("Sure?")]},
]


def make(source: str) -> ChatTemplate:
    return ChatTemplate(source, TOKENS)


class TestBuiltin:
    def test_golden_single_turns(self) -> None:
        rendered = {name: make(builtin_template(name)).render(QUESTION) for name in BUILTIN}
        assert rendered == {
            "vicuna": "USER: <image>\nWhat? ASSISTANT:",
            "vicuna_v1": SYSTEM + "USER: <image>\nWhat? ASSISTANT:",
            "mistral": "[INST] <image>\nWhat? [/INST]",
        }

    def test_golden_dialogues(self) -> None:
        rendered = {name: make(builtin_template(name)).render(DIALOGUE) for name in BUILTIN}
        assert rendered == {
            "vicuna": "Be brief. USER: <image>\nLook: ASSISTANT: A cat. USER: Sure? ASSISTANT:",
            "vicuna_v1": "Be brief. USER: <image>\nLook: ASSISTANT: A cat.</s>USER: Sure? ASSISTANT:",
            "mistral": "[INST] <image>\nBe brief.\n\nLook: [/INST] A cat.</s>[INST] Sure? [/INST]",
        }

    def test_vicuna_is_the_published_template(self) -> None:
        ours, published = make(builtin_template("vicuna")), make(LLAVA15_TEMPLATE)
        for messages in (QUESTION, DIALOGUE, DIALOGUE[:3]):
            for generation_prompt in (True, False):
                options = {"generation_prompt": generation_prompt}
                assert ours.render(messages, **options) == published.render(messages, **options)

    def test_another_spelling_of_the_image_token(self) -> None:
        template = ChatTemplate(builtin_template("vicuna"), {"image_token": "<picture>"})
        assert template.render(QUESTION) == "USER: <picture>\nWhat? ASSISTANT:"

    @pytest.mark.parametrize("name", BUILTIN)
    def test_forms(self, name: str) -> None:
        template = make(builtin_template(name))
        assert template.takes_parts
        assert template.takes_system


class TestForms:
    @pytest.mark.parametrize(
        ("source", "parts", "system"),
        [(LLAVA15_TEMPLATE, True, True), (LLAVA16_TEMPLATE, True, True), (INSTRUCT_TEMPLATE, False, False)],
    )
    def test_published_templates(self, source: str, parts: bool, system: bool) -> None:
        assert (make(source).takes_parts, make(source).takes_system) == (parts, system)

    def test_template_that_prints_lists_does_not_take_parts(self) -> None:
        assert not make("{% for m in messages %}{{ m.content }}{% endfor %}").takes_parts

    def test_template_that_drops_the_system_message(self) -> None:
        source = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
        assert not make(source).takes_system


class TestHelpers:
    def test_refusal(self) -> None:
        with pytest.raises(PromptError, match="chat template refuses these messages: not like this"):
            make("{{ raise_exception('not\n like  this') }}").render(QUESTION)

    @pytest.mark.parametrize("source", ["{{ 1 / 0 }}", "{{ messages[0]['content'] + 1 }}", "{{ none.x.y }}"])
    def test_failure(self, source: str) -> None:
        with pytest.raises(PromptError, match=r"(refuses|failed on) these messages") as caught:
            make(source).render(QUESTION)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "source",
        [
            "{{ messages.append(1) }}",
            "{{ ''.__class__.__mro__[1].__subclasses__() }}",
            "{{ cycler.__init__.__globals__ }}",
            "{{ messages[0].__class__.__base__ }}",
        ],
    )
    def test_sandbox(self, source: str) -> None:
        with pytest.raises(PromptError):
            make(source).render(QUESTION)

    def test_syntax_error(self) -> None:
        with pytest.raises(CheckpointError, match=r"line 1: .*correct the template"):
            make("{% for %}")


class TestFiles:
    def write(self, file: Path, content: Any) -> None:
        file.write_text(content if isinstance(content, str) else json.dumps(content))

    def test_order_of_files(self, tmp_path: Path) -> None:
        assert read_template(tmp_path) is None
        for name, content in (
            ("tokenizer_config.json", {"chat_template": "1"}),
            ("chat_template.jinja", "2"),
            ("chat_template.json", {"chat_template": "3"}),
            ("processor_config.json", {"chat_template": "4"}),
        ):
            self.write(tmp_path / name, content)
            expected = content if isinstance(content, str) else content["chat_template"]
            assert read_template(tmp_path) == expected

    def test_several_templates_the_default_one(self, tmp_path: Path) -> None:
        named = [{"name": "rag", "template": "a"}, {"name": "default", "template": "b"}]
        self.write(tmp_path / "tokenizer_config.json", {"chat_template": named})
        assert read_template(tmp_path) == "b"
        self.write(tmp_path / "tokenizer_config.json", {"chat_template": {"rag": "a"}})
        assert read_template(tmp_path) is None

    def test_damaged_files(self, tmp_path: Path) -> None:
        (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
        with pytest.raises(CheckpointError, match=r"chat_template\.jinja: cannot be read"):
            read_template(tmp_path)
        self.write(tmp_path / "chat_template.json", "{")
        with pytest.raises(CheckpointError, match=r"chat_template\.json: cannot be read"):
            read_template(tmp_path)
