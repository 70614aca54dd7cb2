"""Chat templates: a checkpoint's own Jinja template, or one of ours for checkpoints without.

Templates come from the internet, so they run in Jinja's sandbox, with the helpers and the whitespace rules that
transformers gives them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import CheckpointError, PromptError

# vicuna: LLaVA 1.5 and 1.6 with Vicuna, as converted checkpoints have it. vicuna_v1: as the authors evaluated,
# with a system sentence. mistral: [INST], for LLaVA 1.6 with Mistral and for Mixtral-Instruct.
BUILTIN = ("vicuna", "vicuna_v1", "mistral")

_PROBE = "\U0010fffd"
Message = Mapping[str, Any]


class ChatTemplate:
    """Renders messages to text. `variables` are what the template may use: bos_token, image_token, ..."""

    def __init__(self, source: str, variables: Mapping[str, str], name: str = "chat template") -> None:
        self.name = name
        self.source = source
        self._variables = dict(variables)
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise CheckpointError(f"{name}: line {error.lineno}: {error.message}; correct the template") from None

    def render(self, messages: Sequence[Message], *, generation_prompt: bool = True) -> str:
        """The text of the conversation. Raises `PromptError` when the template refuses the messages."""
        try:
            return self._template.render(
                messages=list(messages),
                add_generation_prompt=generation_prompt,
                tools=None,
                documents=None,
                **self._variables,
            )
        except jinja2.TemplateError as error:
            raise PromptError(f"{self.name} refuses these messages: {_line(error)}") from None
        except Exception as error:  # a template is a program: it can fail in any way
            raise PromptError(f"{self.name} failed on these messages: {_line(error)}") from None

    @cached_property
    def takes_parts(self) -> bool:
        """Whether content is a list of typed parts (as LLaVA's templates want it) rather than a string."""
        content = [{"type": "text", "text": _PROBE}]
        text = self._try([{"role": "user", "content": content}])
        return _PROBE in text and "'type'" not in text

    @cached_property
    def takes_system(self) -> bool:
        """Whether a system message is shown to the model, not refused and not dropped."""
        return _PROBE in self._try(
            [{"role": "system", "content": self.content(_PROBE)}, {"role": "user", "content": self.content("x")}]
        )

    def content(self, text: str) -> Any:
        """`text` in the form this template wants."""
        return [{"type": "text", "text": text}] if self.takes_parts else text

    def _try(self, messages: Sequence[Message]) -> str:
        try:
            return self.render(messages)
        except PromptError:
            return ""


def read_template(folder: str | Path) -> str | None:
    """The chat template of a checkpoint folder, or None; the order of files is that of transformers."""
    folder = Path(folder)
    for name in ("processor_config.json", "chat_template.json"):
        template = _named(_read_json(folder / name).get("chat_template"))
        if template is not None:
            return template
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{file}: cannot be read ({error}); download it again") from None
    return _named(_read_json(folder / "tokenizer_config.json").get("chat_template"))


def builtin_template(name: str) -> str:
    """The source of one of the `BUILTIN` templates."""
    return (resources.files(__package__) / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def _named(value: object) -> str | None:
    """A template, or the default one of several: {"default": ...} or [{"name": "default", "template": ...}]."""
    if isinstance(value, list):
        value = {item["name"]: item["template"] for item in value if isinstance(item, dict)}
    if isinstance(value, dict):
        value = value.get("default")
    return value if isinstance(value, str) else None


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error}); download it again") from None
    return content if isinstance(content, dict) else {}


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; here it only shows its content."""

    tags = {"generation"}  # noqa: RUF012  Jinja's interface

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Not Jinja's own, which escapes HTML.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
