"""Chat messages as callers write them, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import PromptError

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message; a part is a text, or None for an image."""

    role: str
    parts: tuple[str | None, ...]

    @property
    def texts(self) -> Iterator[str]:
        return (part for part in self.parts if part is not None)

    @property
    def images(self) -> int:
        return self.parts.count(None)

    def map_texts(self, change: Callable[[str], str]) -> Turn:
        return replace(self, parts=tuple(None if part is None else change(part) for part in self.parts))

    def with_prefix(self, text: str) -> Turn:
        """`text` before the first text; images stay where they are."""
        for number, part in enumerate(self.parts):
            if part is not None:
                return replace(self, parts=(*self.parts[:number], text + part, *self.parts[number + 1 :]))
        return replace(self, parts=(*self.parts, text.rstrip()))

    def with_suffix(self, text: str) -> Turn:
        """`text` behind the only text of an assistant's message."""
        return replace(self, parts=(*self.parts[:-1], (self.parts[-1] or "") + text))

    def as_parts(self) -> list[dict[str, str]]:
        """The content as templates of vision models take it."""
        return [{"type": "image"} if part is None else {"type": "text", "text": part} for part in self.parts]

    def as_text(self, image_text: str) -> str:
        """The content as one string, an image as `image_text` on a line of its own."""
        lines = [image_text if part is None else part for part in self.parts]
        return "\n".join(lines)


def read_turns(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Checks and normalises `messages`; an empty last assistant message is left out. Raises `PromptError`."""
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        raise PromptError('messages must be a list like [{"role": "user", "content": "Hello"}]')
    turns = [_read_turn(number, message) for number, message in enumerate(messages, 1)]
    if turns and turns[-1].role == "assistant" and not any(turns[-1].texts):
        turns.pop()
    if not any(turn.role == "user" for turn in turns):
        raise PromptError('messages need at least one with the role "user"')
    return turns


def place_images(turns: list[Turn], count: int) -> list[Turn]:
    """Gives `count` images their places: image parts if there are any, else before the first user text."""
    mentioned = sum(turn.images for turn in turns)
    if mentioned == count:
        return turns
    if mentioned:
        raise PromptError(
            f"the messages have {mentioned} image parts but {count} images were given; make the numbers equal"
        )
    first = next(number for number, turn in enumerate(turns) if turn.role == "user")
    placed = replace(turns[first], parts=(*([None] * count), *turns[first].parts))
    return [*turns[:first], placed, *turns[first + 1 :]]


def _read_turn(number: int, message: Any) -> Turn:
    where = f"message {number}"
    if not isinstance(message, Mapping):
        raise PromptError(f'{where}: must be {{"role": ..., "content": ...}}, not {type(message).__name__}')
    unknown = sorted(set(message) - {"role", "content"})
    if unknown:
        raise PromptError(f"{where}: unknown key {unknown[0]!r}; a message has role and content")
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise PromptError(f"{where}: role must be system, user or assistant, not {role!r}")
    if isinstance(content, str):
        return Turn(role, (content,))
    if isinstance(content, Mapping) or not isinstance(content, Sequence) or not content:
        raise PromptError(f"{where}: content must be a text or a list of parts, not {content!r:.40}")
    parts = tuple(_read_part(f"{where}, part {place}", part) for place, part in enumerate(content, 1))
    if role == "user":
        return Turn(role, parts)
    if None in parts:
        raise PromptError(f"{where}: only user messages may hold images")
    # Templates read one text of these roles.
    return Turn(role, ("\n".join(part for part in parts if part is not None),))


def _read_part(where: str, part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "image":
        return None
    if kind == "text" and isinstance(part.get("text"), str):
        text: str = part["text"]
        return text
    raise PromptError(f'{where}: must be {{"type": "text", "text": ...}} or {{"type": "image"}}')
