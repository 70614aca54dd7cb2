"""Calls as programs for Replicate's clients: predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from .call import Call, Language, UnwritableError, Written
from .door import ANY, Door
from .literals import Code, javascript, python
from .names import replicate_name
from .programs import Files, program

# Replicate's names of what chats call otherwise, for models that read text only.
_TEXT_NAMES = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "seed": "seed", "stop": "stop_sequences",
    "max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens", "min_tokens": "min_new_tokens",
    "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty",
}  # fmt: skip
_SEEING_NAMES = {
    "temperature": "temperature", "top_p": "top_p", "max_tokens": "max_tokens", "max_completion_tokens": "max_tokens",
}  # fmt: skip
_INSTALL: Mapping[Language, str] = {
    "python": "pip install replicate", "javascript": "npm install replicate", "curl": "",
}  # fmt: skip
# Where the next version does otherwise.
INSTALL_FIRST = "pip install 'replicate<2'"
TOKEN = "REPLICATE_API_TOKEN"


def write(call: Call, language: Language, door: Door) -> Written:
    """The call as a program that prints the answer. Raises UnwritableError."""
    inputs, left_out = inputs_of(call)
    image = inputs.get("image")
    files = Files([image] if isinstance(image, str) else [])
    if image is not None:
        inputs["image"] = shown(image, language, files)
    name = replicate_name((call.model, *call.names))
    what = "stream" if call.stream else "run"
    notes = [f"Replicate's inputs have no {', '.join(left_out)}; the code leaves that out."] if left_out else []
    code = written(what, language, door, name, inputs, files)
    install = INSTALL_FIRST if call.stream and language == "python" else ""
    first = needs(language, door, install=install)
    return Written(code, " ".join((*notes, note_on(what, language))).strip(), first)


def written(
    what: str, language: Language, door: Door, name: str, inputs: Mapping[str, Any], files: Files, **more: Any
) -> str:  # fmt: skip
    """The program `replicate-WHAT`."""
    url = f"{door.v1}/models/{quote(name, safe='/')}/predictions"
    return program(
        f"replicate-{what}.{language}", door=door, name=name, inputs=inputs, files=files, url=url, token=TOKEN, **more
    )


def needs(language: Language, door: Door, *commands: str, install: str = "") -> str:
    """What comes before the code. Version 2 of the Python client insists on a token."""
    if language == "python" and not door.key:
        commands = (*commands, f"export {TOKEN}={ANY}")
    return door.needs(install or _INSTALL[language], *commands, key=TOKEN)


def note_on(what: str, language: Language) -> str:
    """What is to be known of the program `replicate-WHAT`."""
    return "It needs `jq`." if language == "curl" and what in ("stream", "upload", "cancel") else ""


def shown(image: str, language: Language, files: Files) -> str | Code:
    """What stands for a picture: clients take an open file, or its bytes."""
    if not len(files):
        return image
    if language == "python":
        return Code(f'open({python(image)}, "rb")')
    if language == "javascript":
        return Code(f"await readFile({javascript(image)})")
    return files.value(image, language)


def inputs_of(call: Call) -> tuple[dict[str, Any], list[str]]:
    """The inputs, with the picture by its name, and what they have no place for. Raises UnwritableError."""
    parameters = {name: value for name, value in call.parameters.items() if value is not None}
    names = _SEEING_NAMES if call.sees else _TEXT_NAMES
    inputs = _seen(call) if call.sees else _read(call)
    inputs |= {names[name]: value for name, value in parameters.items() if name in names}
    if isinstance(stops := inputs.get("stop_sequences"), str):
        inputs["stop_sequences"] = [stops]  # a text would be taken apart at its commas
    left_out = [name for name in parameters if name not in names]
    if call.system and call.sees:
        left_out.insert(0, "system prompt")
    return inputs, left_out


def _seen(call: Call) -> dict[str, Any]:
    """What a model that sees is asked."""
    if len(call.images) > 1:
        raise UnwritableError(f"Replicate's inputs have one picture; this call has {len(call.images)}.")
    marked = len(call.turns) > 1 and bool(call.images)
    texts = [f"<image>\n{turn.text}" if marked and turn.images else turn.text for turn in call.turns]
    inputs: dict[str, Any] = {"image": call.images[0]} if call.images else {}
    inputs["prompt"] = texts[-1]
    if len(texts) > 1:
        inputs["history"] = texts[:-1]
    return inputs


def _read(call: Call) -> dict[str, Any]:
    """What a model that reads text only is asked."""
    if call.images:
        raise UnwritableError("This model takes no pictures.")
    if len(call.turns) > 1:
        raise UnwritableError("Replicate's inputs of this model have one prompt and no place for what was said before.")
    return {"prompt": call.question.text} | ({"system_prompt": call.system} if call.system else {})
