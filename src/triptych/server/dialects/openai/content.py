"""OpenAI's messages to plain ones, and the images in them.

The engine knows the roles system, user and assistant, and lets an image stand only in a user's message. What clients
send is wider: developers, tools, several system messages, runs of one role. Nothing of that is refused; it is brought
into the engine's form here, so that no template has to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...service import FILE
from .errors import OpenAIError, invalid, missing
from .files import stored_id
from .wire import Message

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_TEXTS = ("text", "input_text", "output_text", "refusal")
_IMAGES = ("image_url", "input_image", "image", "file")
_MARK = "<image>"


@dataclass(slots=True)
class Content:
    """Messages for `ChatPrompt`; `urls` are the images in the order of their places, `params` their paths, `details`
    the callers' words for how much of them is to be seen.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    params: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Said:
    """A message and its place in the body: `where` is the path of the message, `content` that of what it says."""

    message: Message
    where: str
    content: str


@dataclass(frozen=True, slots=True)
class _Image:
    url: str
    param: str
    detail: str = "auto"


@dataclass(slots=True)
class _Turn:
    """A message; its images stand where the model sees them."""

    role: str
    parts: list[str | _Image] = field(default_factory=list)

    def add(self, parts: list[str | _Image], apart: str) -> None:
        """What another message of the same role says."""
        if self.parts and parts and isinstance(self.parts[-1], str):
            self.parts[-1] += apart
            if isinstance(parts[0], str):
                self.parts[-1] += parts[0]
                parts = parts[1:]
        self.parts += parts


def read_messages(messages: list[Message] | None, *, interleave: bool, continued: bool) -> Content:
    """The conversation of `messages`. Raises OpenAIError."""
    if not messages:
        raise missing("messages")
    places = [f"messages[{number}]" for number in range(len(messages))]
    said = [Said(message, where, f"{where}.content") for message, where in zip(messages, places, strict=True)]
    return read_conversation(said, interleave=interleave, continued=continued)


def read_conversation(said: Sequence[Said], *, interleave: bool = False, continued: bool = False) -> Content:
    """The conversation. `interleave` keeps images where they stand among texts, else they go before them. With
    `continued` the last assistant message is left open; otherwise it is history, and a new answer begins.
    """
    turns = _merge([_read(each, interleave) for each in said])
    if continued and turns[-1].role != "assistant":
        raise invalid("continue_final_message", "continue_final_message needs an assistant message at the end.")
    if not continued and turns[-1].role == "assistant":
        turns.append(_Turn("user"))  # the engine would go on with it: an empty question opens a new answer
    content = Content()
    for turn in turns:
        content.messages.append({"role": turn.role, "content": _for_engine(turn.parts)})
        images = [part for part in turn.parts if isinstance(part, _Image)]
        content.urls += [image.url for image in images]
        content.params += [image.param for image in images]
        content.details += [image.detail for image in images]
    return content


def _for_engine(parts: list[str | _Image]) -> str | list[dict[str, str]]:
    texts = [part for part in parts if isinstance(part, str)]
    if len(parts) < 2 and texts == parts:
        return "".join(texts)
    return [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts]


def _merge(turns: list[_Turn]) -> list[_Turn]:
    """System messages at the head become one; later ones are the user's; runs of one role are one message; a leading
    assistant message gets a question before it.
    """
    merged: list[_Turn] = []
    for turn in turns:
        role = "user" if turn.role == "system" and any(before.role != "system" for before in merged) else turn.role
        if merged and merged[-1].role == role:
            merged[-1].add(turn.parts, "\n\n" if role == "system" else "\n")
            continue
        if role == "assistant" and not any(before.role == "user" for before in merged):
            merged.append(_Turn("user"))
        merged.append(_Turn(role, list(turn.parts)))
    if not any(turn.role == "user" for turn in merged):
        merged.append(_Turn("user"))
    return merged


# ---- one message ----------------------------------------------------------------------------------------------------


def _read(said: Said, interleave: bool) -> _Turn:
    message, where = said.message, said.where
    if message.role not in _ROLES:
        raise invalid(f"{where}.role", f"Invalid role {message.role!r:.80}: there are {', '.join(_ROLES)}.")
    role = {"developer": "system", "tool": "user", "function": "user"}.get(message.role, message.role)
    parts = _read_parts(said.content, role, message.content)
    if message.role in ("tool", "function"):
        label = f"[tool result {message.tool_call_id or message.name or ''}".rstrip() + "]"
        text = next((number for number, part in enumerate(parts) if isinstance(part, str)), None)
        if text is None:
            parts.append(label)
        else:
            parts[text] = f"{label} {parts[text]}"
    if message.tool_calls:
        parts.append(_called(message.tool_calls, f"{where}.tool_calls"))
    if role != "user":  # there are no images in it, and templates read one text
        parts = ["\n".join(part for part in parts if isinstance(part, str))] if parts else []
    return _Turn(role, parts if interleave else _images_first(parts))


def _called(calls: list[dict[str, Any]], where: str) -> str:
    """Calls that were made, as the text that made them."""
    made = []
    for call in calls:
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise invalid(where, "A tool call needs a function with a name.")
        try:
            arguments = json.loads(function.get("arguments") or "{}")
        except (TypeError, ValueError, RecursionError):
            arguments = function.get("arguments")
        made.append({"name": function["name"], "arguments": arguments})
    return json.dumps(made[0] if len(made) == 1 else made, ensure_ascii=False)


def _images_first(parts: list[str | _Image]) -> list[str | _Image]:
    """Images before the texts; but markers in the texts are the places of the first ones."""
    images = [part for part in parts if isinstance(part, _Image)]
    texts = [part for part in parts if isinstance(part, str)]
    if not images:
        return parts
    marked = min(len(images), sum(text.count(_MARK) for text in texts))
    waiting, placed = images[:marked], list[str | _Image](images[marked:])
    for text in texts:
        for number, piece in enumerate(text.split(_MARK, len(waiting))):
            if number:
                placed.append(waiting.pop(0))
                piece = piece.removeprefix("\n")  # templates begin a new line behind an image
            if piece.strip():
                placed.append(piece)
    return placed


# ---- parts ----------------------------------------------------------------------------------------------------------


def _read_parts(where: str, role: str, content: str | list[Any] | None) -> list[str | _Image]:
    if content is None or isinstance(content, str):
        return [content] if content else []
    parts: list[str | _Image] = []
    for place, part in enumerate(content):
        path = f"{where}[{place}]"
        read = part if isinstance(part, str) else _read_part(path, part)
        if isinstance(read, _Image) and role != "user":
            raise OpenAIError(f"Images may stand in user messages only, not in {role}'s.", path, "unsupported_content")
        if read:
            parts.append(read)
    return parts


def _read_part(path: str, part: Any) -> str | _Image | None:
    if not isinstance(part, dict):
        raise invalid(path, "A content part must be an object with a type.")
    kind = part.get("type")
    if kind is None:
        kind = "image_url" if "image_url" in part else "text" if "text" in part else None
    if kind in _TEXTS:
        text = part.get("text", part.get("refusal"))
        if text is not None and not isinstance(text, str):
            raise invalid(f"{path}.text", "The text of a content part must be a string.")
        return text
    if kind in _IMAGES:
        return _read_image(path, part)
    raise OpenAIError(
        f"Content of type {kind!r:.80} is not supported; there are text, image_url and file.", f"{path}.type",
        "unsupported_content",
    )  # fmt: skip


def _read_image(path: str, part: dict[str, Any]) -> _Image:
    name = next((name for name in ("image_url", "image", "url", "file") if part.get(name) is not None), "image_url")
    url: Any = part.get(name)
    holder, detail = part, _detail(part)
    if isinstance(url, dict):
        detail = _detail(url, detail)
        url, holder, path, name = url.get("url"), url, f"{path}.{name}", "url"
    if url is None and (holder.get("file_id") is not None or "file" in part):
        return _read_file(f"{path}.file_id", holder.get("file_id"), detail)
    path = f"{path}.{name}"
    if not isinstance(url, str) or not url:
        raise invalid(path, "An image needs a url: https, or a data URI with base64.")
    return _Image(url, path, detail)


def _detail(holder: dict[str, Any], otherwise: str = "auto") -> str:
    """Chats have it beside the URL, responses beside the type. No word is refused: there are new ones now and then."""
    word = holder.get("detail")
    return word if isinstance(word, str) else otherwise


def _read_file(path: str, file_id: Any, detail: str) -> _Image:
    """An image that was uploaded to /v1/files."""
    if not isinstance(file_id, str) or not stored_id(file_id):
        raise OpenAIError("There is no file with this id.", path, "file_not_found")
    return _Image(FILE + stored_id(file_id), path, detail)
