"""Examples as commands that can be copied into a shell."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

_PLAIN = re.compile(r"[\w@%+=:,./-]+")
# A flag, a text in double quotes (its colon tells a key), a number, and JSON's words.
_PIECES = re.compile(
    r'(?P<flag>(?<=\s)-{1,2}[A-Za-z][\w-]*)|(?P<text>"(?:[^"\\]|\\.)*")(?P<colon>\s*:)?'
    r"|(?P<number>(?<=[\s\[,])-?\d+(?:\.\d+)?(?=[\s,\]}]))|\b(?P<word>true|false|null)\b"
)


def curl(
    base: str,
    method: str,
    path: str,
    operation: Mapping[str, Any],
    key: bool,
    content_type: str = "",
    example: Mapping[str, Any] | None = None,
) -> str:
    """The command for an operation of an OpenAPI document, with one of its examples as body. `key` adds the key, from a
    variable.
    """
    query = []
    for parameter in operation.get("parameters", []):
        value = str(parameter.get("example", ""))
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(value))
        elif value:
            query.append(f"{parameter['name']}={quote(value)}")
    url = base + path + ("?" + "&".join(query) if query else "")
    lines = [f"curl {_quoted(url)}"]
    if method not in ("GET", "POST") or (method == "POST" and example is None):
        lines[0] = f"curl -X {method} {_quoted(url)}"
    if key:
        lines.append('-H "authorization: Bearer $TRIPTYCH_API_KEY"')
    if example is not None:
        lines += _form(example) if content_type == "multipart/form-data" else _json(content_type, example)
    return " \\\n  ".join(lines)


def _json(content_type: str, example: Mapping[str, Any]) -> list[str]:
    body = json.dumps(example["value"], indent=2, ensure_ascii=False)
    body = re.sub(r"\n", "\n  ", body)
    return [f"-H {_quoted(f'content-type: {content_type}')}", f"-d {_quoted(body)}"]


def _form(example: Mapping[str, Any]) -> list[str]:
    fields = [f"-F {_quoted(f'{name}={value}')}" for name, value in example["value"].items()]
    files = {name: file["filename"] for name, file in example.get("x-files", {}).items()}
    return fields + [f"-F {_quoted(f'{name}=@{filename}')}" for name, filename in files.items()]


def _quoted(text: str) -> str:
    """One word of a shell."""
    if _PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"


def colored(command: str) -> Markup:
    """The command with its pieces marked."""
    made, place = Markup(), 0
    for piece in _PIECES.finditer(command):
        made += escape(command[place : piece.start()])
        kind = "name" if piece["text"] and piece["colon"] else piece.lastgroup or "text"
        if kind == "colon":
            kind = "name"
        text = piece["text"] or piece[0]
        made += Markup('<span class="{}">{}</span>').format(kind, text)
        made += escape(piece["colon"] or "")
        place = piece.end()
    return made + escape(command[place:])
