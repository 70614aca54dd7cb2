"""Conversations that are too long: the oldest turns go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .content import Content


async def shorten(content: Content, fits: Callable[[Content], Awaitable[bool]]) -> Content:
    """The conversation with as few of its oldest turns left out as `fits` demands: a question goes with its answer, the
    system message and the last question stay. If not even they fit, they are what is left.

    `fits` is asked about log2 of the number of turns times.
    """
    if await fits(content):
        return content
    shorter = [_without(content, begin) for begin in _questions(content)[1:]]
    low, high = 0, len(shorter) - 1  # the first that fits is from `low` to `high`, or none does
    while low < high:
        middle = (low + high) // 2
        if await fits(shorter[middle]):
            high = middle
        else:
            low = middle + 1
    return shorter[low] if shorter else content


def _questions(content: Content) -> list[int]:
    """Where the user's messages are: what is left of a conversation can begin at one."""
    return [number for number, message in enumerate(content.messages) if message["role"] == "user"]


def _without(content: Content, begin: int) -> Content:
    """The system message, and everything from message `begin` on."""
    system = [message for message in content.messages[:1] if message["role"] == "system"]
    gone = sum(_images(message["content"]) for message in content.messages[:begin])
    left = content.messages[begin:]
    return Content([*system, *left], content.urls[gone:], content.params[gone:], content.details[gone:])


def _images(content: str | list[dict[str, str]]) -> int:
    return 0 if isinstance(content, str) else sum(part["type"] == "image" for part in content)
