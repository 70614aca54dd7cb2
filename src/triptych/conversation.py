"""Conversations as callers write them, with images inside the messages, taken apart into messages and images.

Only what is about images is done here; everything else about messages is checked where prompts are built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .engine.errors import PromptError
from .engine.request import Detail, detail_of

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """An image source, and how much of it the model is to see. The source is None where it is given apart."""

    source: Any
    detail: Detail = "high"


def image_list(images: Any) -> list[Any]:
    """One image or several, as a list; None is no image."""
    if images is None:
        return []
    return list(images) if isinstance(images, list | tuple) else [images]


def take_apart(messages: str | Sequence[Message], images: Any = None) -> tuple[list[Any], list[Shown]]:
    """Messages whose image parts are bare `{"type": "image"}` placeholders, and the images in their order.

    `messages` is a question, or a list of `{"role", "content"}` whose content is text or a list of parts. An
    image part is `{"type": "image", "image": source}` or OpenAI's `{"type": "image_url", "image_url": ...}`.
    Either may have OpenAI's `detail`, which is "low" or anything else.
    Images given apart fill the image parts that have no source; without any image part they go before the text
    of the first user message. Raises `PromptError` when parts and images do not match in number.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    given = image_list(images)
    shown: list[Shown] = []
    plain = [_with_placeholders(message, shown) for message in messages]
    if not shown:
        return plain, [Shown(source) for source in given]
    empty = sum(image.source is None for image in shown)
    if empty != len(given):
        raise PromptError(
            f"the messages have {empty} image parts without an image but {len(given)} images were given apart; "
            "make the numbers equal"
        )
    waiting = iter(given)
    return plain, [Shown(next(waiting), image.detail) if image.source is None else image for image in shown]


def _with_placeholders(message: Any, shown: list[Shown]) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list | tuple):
        return message
    parts = []
    for part in content:
        if isinstance(part, Mapping) and part.get("type") in ("image", "image_url"):
            shown.append(_shown(part))
            part = {"type": "image"}
        parts.append(part)
    return {**message, "content": parts}


def _shown(part: Message) -> Shown:
    value = part.get("image_url") if part["type"] == "image_url" else part.get("image", part.get("url"))
    if isinstance(value, Mapping):
        return Shown(value.get("url"), detail_of(value.get("detail", part.get("detail"))))
    return Shown(value, detail_of(part.get("detail")))
