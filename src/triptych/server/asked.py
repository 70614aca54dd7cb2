"""What stands in the queries of operators: page sizes, ids, states. Errors are OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .dialects.openai.errors import invalid

_DEFAULT_PAGE = 50
MOST_PAGE = 1000


def page_size(query: Mapping[str, str]) -> int:
    """The parameter `limit`. Raises OpenAIError."""
    text = query.get("limit", "") or str(_DEFAULT_PAGE)
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    if not 1 <= number <= MOST_PAGE:
        raise invalid("limit", f"limit must be a whole number from 1 to {MOST_PAGE}.")
    return number


def stored_id(query: Mapping[str, str], name: str) -> str | None:
    """The id in a parameter, None if it is not given. Raises OpenAIError."""
    text = query.get(name, "")
    if text and not (text.isascii() and text.isalnum()):
        raise invalid(name, f"{name} must be an id.")
    return text or None


def known(query: Mapping[str, str], name: str, words: Sequence[str]) -> str | None:
    """A parameter that is one of `words`, None if it is not given. Raises OpenAIError."""
    text = query.get(name, "")
    if text and text not in words:
        raise invalid(name, f"{name} must be one of {', '.join(words)}.")
    return text or None


def seconds(microseconds: int | None) -> float | None:
    """A stored time as it is shown."""
    return None if microseconds is None else microseconds / 1e6
