"""What callers write as a conversation, brought into the one form the engine's prompt builder reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .engine.errors import PromptError

if TYPE_CHECKING:
    from .engine.images import ImageSource

ROLES = ("system", "user", "assistant")

Message = Mapping[str, Any]


def image_list(images: Any) -> list[ImageSource]:
    """One image or several, as a list; None is no image."""
    if images is None:
        return []
    if isinstance(images, list | tuple):
        return list(images)
    return [images]


def normalise(
    messages: str | Sequence[Message], images: Any = None
) -> tuple[list[dict[str, Any]], list[ImageSource]]:
    """Messages whose image parts are bare `{"type": "image"}` placeholders, and the images in their order.

    `messages` is a question, or a list of `{"role", "content"}` whose content is text or a list of parts: text
    (`{"type": "text", "text": ...}`) and images (`{"type": "image", "image": source}` or OpenAI's `image_url`).
    Images given apart fill the image parts without a source; where there are none, they come before the text of
    the first user message. Raises `PromptError`.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not messages:
        raise PromptError("the conversation is empty: give at least one message")
    given = image_list(images)
    plain = [_message(message) for message in messages]
    if given and not any(source is None for _, sources in plain for source in sources):
        _prepend(plain, given)
        given = []
    ordered: list[Any] = []
    for _, sources in plain:
        for source in sources:
            if source is None and not given:
                raise PromptError("there are more image placeholders than images: give one image for each")
            ordered.append(given.pop(0) if source is None else source)
    if given:
        raise PromptError(f"{len(given)} more image(s) than image placeholders: give one placeholder for each image")
    return [message for message, _ in plain], ordered


def _message(message: Message) -> tuple[dict[str, Any], list[Any]]:
    """One message in plain form, and the source of each of its image parts (None: to be filled)."""
    if not isinstance(message, Mapping) or "role" not in message or "content" not in message:
        raise PromptError(f"a message needs a role and a content, not {_short(message)}")
    if message["role"] not in ROLES:
        raise PromptError(f"a message's role must be one of {', '.join(ROLES)}, not {message['role']!r}")
    content = message["content"]
    if isinstance(content, str):
        return {"role": message["role"], "content": content}, []
    if not isinstance(content, Iterable) or isinstance(content, Mapping | bytes):
        raise PromptError(f"a message's content must be text or a list of parts, not {_short(content)}")
    parts: list[dict[str, Any]] = []
    sources: list[Any] = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
        elif kind in ("image", "image_url"):
            parts.append({"type": "image"})
            sources.append(_source(part))
        else:
            raise PromptError(f"a content part must be a text or an image, not {_short(part)}")
    return {"role": message["role"], "content": parts}, sources


def _source(part: Mapping[str, Any]) -> Any:
    value = part.get("image_url", part.get("image", part.get("url", part.get("path"))))
    if isinstance(value, Mapping):
        value = value.get("url")
    return value


def _prepend(plain: list[tuple[dict[str, Any], list[Any]]], images: list[Any]) -> None:
    for message, sources in plain:
        if message["role"] == "user":
            content = message["content"]
            texts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            message["content"] = [{"type": "image"} for _ in images] + texts
            sources[:0] = images
            return
    raise PromptError("images need a user message to belong to; the conversation has none")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
