"""A call as it is written down as code: whom it asks what, with which pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Dialect = Literal["openai", "replicate", "runware"]
Language = Literal["python", "curl", "javascript"]
DIALECTS: tuple[Dialect, ...] = ("openai", "replicate", "runware")
LANGUAGES: tuple[Language, ...] = ("python", "curl", "javascript")


class UnwritableError(ValueError):
    """The call cannot be said in that dialect; the text is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said. `images` are names of local files; what begins with `data:`, `http://` or `https://` is sent
    as it is.
    """

    role: Literal["user", "assistant"]
    text: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A conversation that a model is asked to go on; the last turn is the user's. `parameters` have the names of
    OpenAI's chats. `names` are other names of the model, of which each dialect takes the form that its clients know;
    `sees` says whether it takes pictures.
    """

    model: str
    turns: tuple[Turn, ...]
    system: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    stream: bool = False
    names: tuple[str, ...] = ()
    sees: bool = False

    @classmethod
    def asking(cls, model: str, prompt: str, *images: str, **more: Any) -> Call:
        """One question; `more` are fields of the call."""
        return cls(model, (Turn("user", prompt, images),), **more)

    @property
    def question(self) -> Turn:
        return self.turns[-1]

    @property
    def images(self) -> tuple[str, ...]:
        """Those of all turns."""
        return tuple(image for turn in self.turns for image in turn.images)


@dataclass(frozen=True, slots=True)
class Written:
    """A call as code. `note` says what the dialect cannot say and the code leaves out, "" if nothing; `needs` are the
    lines of a shell that come first.
    """

    code: str
    note: str = ""
    needs: str = ""
