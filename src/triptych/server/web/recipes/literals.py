"""Values as literals of Python, JavaScript and JSON, and as words of a shell: whatever is in them, they are only that.

Characters that nobody sees, or that change how others are shown, are written as escapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .call import UnwritableError

# Columns of a line, where values can be broken.
_WIDTH = 92
_DEEPEST = 60
_NAME = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)
_PLAIN = re.compile(r"[\w@%+:,./-]+", re.ASCII)
_SHORT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Code:
    """An expression that stands among values as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Style:
    """How a language writes; `pad` stands inside the braces of an object on one line, `comma` behind the last of
    several lines, `code` writes an expression, `step` is one more indent.
    """

    string: Callable[[str], str]
    key: Callable[[str], str]
    words: Mapping[bool | None, str]
    pad: str
    comma: str
    code: Callable[[str], str]
    step: int


def _string(text: str, other: Callable[[str], str]) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text:  # as nearly all are
        return f'"{text}"'
    return '"' + "".join(_SHORT.get(char) or (char if char.isprintable() else other(char)) for char in text) + '"'


def _python_escape(char: str) -> str:
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _json_escape(char: str) -> str:
    pair = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{pair[at : at + 4]}" for at in range(0, len(pair), 4))


def _python_string(text: str) -> str:
    return _string(text, _python_escape)


def _json_string(text: str) -> str:
    return _string(text, _json_escape)


def _javascript_key(name: str) -> str:
    if name == "__proto__":  # which as a plain key is no property but the object's prototype
        return '["__proto__"]'
    return name if _NAME.fullmatch(name) else _json_string(name)


def _shell_string(text: str) -> str:
    """A JSON string within a word in single quotes."""
    return _json_string(text).replace("'", "'\\''")


def _in_shell(expression: str) -> str:
    """A variable in a JSON string in a word in single quotes."""
    return f"\"'\"{expression}\"'\""


_PYTHON = Style(_python_string, _python_string, {True: "True", False: "False", None: "None"}, "", ",", str, 4)
_JSON_WORDS = {True: "true", False: "false", None: "null"}
_JAVASCRIPT = Style(_json_string, _javascript_key, _JSON_WORDS, " ", ",", str, 2)
_JSON = Style(_shell_string, _shell_string, _JSON_WORDS, "", "", _in_shell, 2)


def python(value: Any, column: int = 0, indent: int = 0) -> str:
    """`indent` is that of the line it begins on, `column` the length of what stands before it there."""
    return _written(value, _PYTHON, indent, column)


def arguments(values: Mapping[str, Any], indent: int, column: int) -> str:
    """Values as arguments of a call, without its parentheses; one without a name stands alone. The names must be names.
    `indent` and `column` as in `python`.
    """
    named = [(f"{name}=" if name else "", value) for name, value in values.items()]
    flat = ", ".join(f"{name}{_flat(value, _PYTHON)}" for name, value in named)
    if indent + column + len(flat) < _WIDTH:
        return flat
    inner = " " * (indent + 4)
    lines = [f"{inner}{name}{_written(value, _PYTHON, indent + 4, len(name))},\n" for name, value in named]
    return "\n" + "".join(lines) + " " * indent


def javascript(value: Any, column: int = 0, indent: int = 0) -> str:
    """`column` and `indent` as in `python`."""
    return _written(value, _JAVASCRIPT, indent, column)


def shell_json(value: Any) -> str:
    """JSON as one word of a shell, in single quotes. Expressions in it are strings that a shell's variables make."""
    return f"'{_written(value, _JSON, 0, 12)}'"


def word(text: str | Code) -> str:
    """One word of a shell. Raises UnwritableError if it has a zero byte, which no word can have."""
    if isinstance(text, Code):
        return f'"{text.text}"'
    if "\0" in text:
        raise UnwritableError("The name of a file cannot have a zero byte in it.")
    if _PLAIN.fullmatch(text):
        return text
    if text.isprintable():
        return "'" + text.replace("'", "'\\''") + "'"
    made = "".join(char if char.isprintable() and char not in "\\'" else _bytes(char) for char in text)
    return f"$'{made}'"


def _bytes(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))


def _written(value: Any, style: Style, indent: int, column: int) -> str:
    """On one line if it fits there, else each of its parts on lines of its own. `column` is the length of what stands
    before it behind the indent.
    """
    if isinstance(value, Mapping) and value:
        parts = [(f"{style.key(str(name))}: ", part) for name, part in value.items()]
        opened, closed = "{", "}"
    elif isinstance(value, list | tuple) and value:
        parts = [("", part) for part in value]
        opened, closed = "[", "]"
    else:
        return _flat(value, style)
    flat = _flat(value, style)
    if indent + column + len(flat) < _WIDTH:
        return flat
    inner = indent + style.step
    lines = [f"{' ' * inner}{name}{_written(part, style, inner, len(name))}" for name, part in parts]
    return f"{opened}\n" + ",\n".join(lines) + f"{style.comma}\n{' ' * indent}{closed}"


def _flat(value: Any, style: Style, depth: int = 0) -> str:
    if depth > _DEEPEST:
        raise UnwritableError("The values of this call lie too deep in each other.")
    if isinstance(value, Code):
        return style.code(value.text)
    if value is None or isinstance(value, bool):
        return style.words[value]
    if isinstance(value, str):
        return style.string(value)
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, Mapping):
        parts = ", ".join(f"{style.key(str(name))}: {_flat(part, style, depth + 1)}" for name, part in value.items())
        return f"{{{style.pad}{parts}{style.pad}}}" if parts else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flat(part, style, depth + 1) for part in value) + "]"
    raise UnwritableError("A call can be written with texts, numbers, lists and objects only.")
