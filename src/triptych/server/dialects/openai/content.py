"""OpenAI's messages to plain ones, and the images in them.

The engine knows the roles system, user and assistant, and lets an image stand only in a user's message. What clients
send is wider: developers, tools, several system messages, runs of one role. Nothing of that is refused; it is brought
into the engine's form here, so that no template has to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .errors import OpenAIError, invalid, missing
from .wire import Message

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_TEXTS = ("text", "input_text", "output_text", "refusal")
_IMAGES = ("image_url", "input_image", "image")
_MARK = "<image>"


@dataclass(slots=True)
class Content:
    """Messages for `ChatPrompt`; `urls` are the images in the order of their places, `params` their paths."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    params: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Turn:
    role: str
    parts: list[str | _Image] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Image:
    url: str
    param: str


def read_messages(messages: list[Message] | None, *, interleave: bool, continued: bool) -> Content:
    """The conversation. `interleave` keeps images where they stand among texts, else they go before them. With
    `continued` the last assistant message is left open; otherwise it is history, and a new answer begins.
    """
    if not messages:
        raise missing("messages")
    turns = _merge([_read(number, message) for number, message in enumerate(messages)])
    if continued and turns[-1].role != "assistant":
        raise invalid("continue_final_message", "continue_final_message needs an assistant message at the end.")
    if not continued and turns[-1].role == "assistant":
        # The engine would go on with it: an empty question opens a new answer.
        turns.append(_Turn("user", [""]))
    content = Content()
    for turn in turns:
        content.messages.append({"role": turn.role, "content": _parts(turn, interleave, content)})
    return content


def _read(number: int, message: Message) -> _Turn:
    where = f"messages[{number}]"
    if message.role not in _ROLES:
        raise invalid(f"{where}.role", f"Invalid role {message.role!r}: there are {', '.join(_ROLES)}.")
    role = {"developer": "system", "tool": "user", "function": "user"}.get(message.role, message.role)
    parts = _read_parts(where, role, message.content)
    if message.role in ("tool", "function"):
        parts.insert(0, f"[tool result {message.tool_call_id or message.name or ''}]".replace(" ]", "]"))
    for call in message.tool_calls or []:
        parts.append(_called(call, where))
    return _Turn(role, parts)


def _called(call: dict[str, Any], where: str) -> str:
    """A call that was made, as the text that made it."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise invalid(f"{where}.tool_calls", "A tool call needs a function with a name.")
    try:
        arguments = json.loads(function.get("arguments") or "{}")
    except (TypeError, ValueError):
        arguments = function.get("arguments")
    return json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)


def _read_parts(where: str, role: str, content: str | list[Any] | None) -> list[str | _Image]:
    if content is None or isinstance(content, str):
        return [content] if content else []
    parts: list[str | _Image] = []
    for place, part in enumerate(content):
        path = f"{where}.content[{place}]"
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, dict):
            read = _read_part(path, part)
            if isinstance(read, _Image) and role != "user":
                why = f"Images may stand in user messages only, not in {role}'s."
                raise OpenAIError(why, path, "unsupported_content")
            if read is not None:
                parts.append(read)
        else:
            raise invalid(path, "A content part must be an object with a type.")
    return parts


def _read_part(path: str, part: dict[str, Any]) -> str | _Image | None:
    kind = part.get("type") or ("image_url" if "image_url" in part else "text" if "text" in part else None)
    if kind in _TEXTS:
        text = part.get("text", part.get("refusal"))
        if text is not None and not isinstance(text, str):
            raise invalid(f"{path}.text", "The text of a content part must be a string.")
        return text
    if kind not in _IMAGES:
        raise OpenAIError(f"Content of type {kind!r} is not supported; there are text and image_url.", f"{path}.type",
                          "unsupported_content")  # fmt: skip
    value = part.get("image_url", part.get("image", part.get("url")))
    if isinstance(value, dict):
        value, path = value.get("url"), f"{path}.image_url"
    if not isinstance(value, str) or not value:
        raise invalid(f"{path}.url", "An image needs a url: https, or a data URI with base64.")
    return _Image(value, f"{path}.url" if path.endswith("image_url") else f"{path}.image_url")


def _merge(turns: list[_Turn]) -> list[_Turn]:
    """System messages at the head become one; later ones are the user's; runs of one role are one message; a leading
    assistant message gets a question before it.
    """
    merged: list[_Turn] = []
    for turn in turns:
        later_system = turn.role == "system" and any(before.role != "system" for before in merged)
        role = "user" if later_system else turn.role
        if merged and merged[-1].role == role:
            merged[-1].parts += [("\n\n" if role == "system" else "\n"), *turn.parts] if turn.parts else []
        else:
            if role == "assistant" and not any(before.role == "user" for before in merged):
                merged.append(_Turn("user", [""]))
            merged.append(_Turn(role, list(turn.parts)))
    if not any(turn.role == "user" for turn in merged):
        merged.append(_Turn("user", [""]))
    return merged


def _parts(turn: _Turn, interleave: bool, content: Content) -> str | list[dict[str, str]]:
    """The message's parts in the engine's form; its images go into `content` in the order of their places."""
    images = [part for part in turn.parts if isinstance(part, _Image)]
    if not images:
        return _joined([part for part in turn.parts if isinstance(part, str)])
    placed: list[dict[str, str]] = []
    order: list[_Image] = []

    def show(image: _Image) -> None:
        placed.append({"type": "image"})
        order.append(image)

    if interleave:
        for part in turn.parts:
            if isinstance(part, _Image):
                show(part)
            else:
                placed.append({"type": "text", "text": part})
    else:
        text = _joined([part for part in turn.parts if isinstance(part, str)])
        # Markers in the text are the places of the first images; the others go before it.
        marked = min(text.count(_MARK), len(images))
        for image in images[marked:]:
            show(image)
        *before, rest = text.split(_MARK, marked)
        for piece, image in zip(before, images[:marked], strict=True):
            if piece.strip():
                placed.append({"type": "text", "text": piece})
            show(image)
        placed.append({"type": "text", "text": rest.lstrip("\n") if marked else rest})
    content.urls += [image.url for image in order]
    content.params += [image.param for image in order]
    return placed


def _joined(texts: list[str]) -> str:
    """Several texts of one message on lines of their own; separators that were put between messages count as such."""
    joined = ""
    for text in texts:
        apart = "" if not joined or joined.endswith("\n") or text.startswith("\n") else "\n"
        joined += apart + text
    return joined
