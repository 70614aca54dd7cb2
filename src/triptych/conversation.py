"""Conversations as callers write them, with images inside the messages, taken apart into messages and images.

Only what is about images is done here; everything else about messages is checked where prompts are built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .engine.errors import PromptError

Message = Mapping[str, Any]


def image_list(images: Any) -> list[Any]:
    """One image or several, as a list; None is no image."""
    if images is None:
        return []
    return list(images) if isinstance(images, list | tuple) else [images]


def take_apart(messages: str | Sequence[Message], images: Any = None) -> tuple[list[Any], list[Any]]:
    """Messages whose image parts are bare `{"type": "image"}` placeholders, and the image sources in their order.

    `messages` is a question, or a list of `{"role", "content"}` whose content is text or a list of parts. An
    image part is `{"type": "image", "image": source}` or OpenAI's `{"type": "image_url", "image_url": ...}`.
    Images given apart fill the image parts that have no source; without any image part they go before the text
    of the first user message. Raises `PromptError` when parts and images do not match in number.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    given = image_list(images)
    sources: list[Any] = []
    plain = [_with_placeholders(message, sources) for message in messages]
    if not sources:
        return plain, given
    empty = sources.count(None)
    if empty != len(given):
        raise PromptError(
            f"the messages have {empty} image parts without an image but {len(given)} images were given apart; "
            "make the numbers equal"
        )
    waiting = iter(given)
    return plain, [next(waiting) if source is None else source for source in sources]


def _with_placeholders(message: Any, sources: list[Any]) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list | tuple):
        return message
    parts = []
    for part in content:
        if isinstance(part, Mapping) and part.get("type") in ("image", "image_url"):
            sources.append(_source(part))
            part = {"type": "image"}
        parts.append(part)
    return {**message, "content": parts}


def _source(part: Message) -> Any:
    value = part.get("image_url") if part["type"] == "image_url" else part.get("image", part.get("url"))
    return value.get("url") if isinstance(value, Mapping) else value
