"""Calls as programs for Runware's clients: caption tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .call import Call, Language, UnwritableError, Written
from .door import ANY, Door
from .literals import Code
from .names import runware_name
from .programs import Files, program

KEY = "RUNWARE_API_KEY"
_INSTALL: Mapping[Language, str] = {
    "python": "pip install runware", "javascript": "npm install @runware/sdk-js", "curl": "",
}  # fmt: skip


def write(call: Call, language: Language, door: Door) -> Written:
    """The call as a program that prints the answer. Raises UnwritableError."""
    [image] = _checked(call)
    left_out = [name for name, value in call.parameters.items() if value is not None]
    if call.system:
        left_out.insert(0, "system prompt")
    notes = [f"Runware's captions have no {', '.join(left_out)}; the code leaves that out."] if left_out else []
    if call.stream:
        notes.append("A caption comes whole, not as a stream.")
    name = runware_name((call.model, *call.names))
    code = written("caption", language, door, name, image, call.question.text)
    return Written(code, " ".join((*notes, note_on("caption", language))).strip(), needs(language, door))


def written(what: str, language: Language, door: Door, name: str, image: str, prompt: str = "") -> str:
    """The program `runware-WHAT`; without `prompt` the picture is described."""
    files = Files([image])
    shown: str | Code = files.value(image, language)
    variable = f"process.env.{KEY}" if language == "javascript" else f'os.environ["{KEY}"]'
    key: str | Code = Code(variable) if door.key else ANY
    values: dict[str, Any] = {
        "door": door, "name": name, "image": shown, "file": image, "files": files, "prompt": prompt, "key": key,
        "variable": KEY, "uuid": Code("$uuid"),
    }  # fmt: skip
    return program(f"runware-{what}.{language}", **values)


def needs(language: Language, door: Door, install: str = "") -> str:
    return door.needs(install or _INSTALL[language], key=KEY)


def note_on(what: str, language: Language) -> str:
    """What is to be known of the program `runware-WHAT`."""
    if language == "javascript":
        return "The prompt stands in `inputs`, since this client drops one that stands beside it."
    if language == "curl":
        return "Every task has a UUID of its own." + (" It needs `jq`." if what == "upload" else "")
    return ""


def _checked(call: Call) -> tuple[str, ...]:
    if not call.sees:
        raise UnwritableError("Runware's API captions pictures; this model takes none.")
    if len(call.turns) > 1:
        raise UnwritableError("Runware's captions have one prompt and no place for what was said before.")
    if len(call.images) != 1:
        raise UnwritableError(f"Runware's captions are of one picture; this call has {len(call.images) or 'none'}.")
    return call.images
