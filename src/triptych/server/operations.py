"""What can be asked of the server, in words: an `Operation` for each route. /openapi.json and the reference are made of
them; whoever adds a route adds its operation beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

# What stands in examples for a served model: any one, and one that takes images.
ANY_MODEL = "{any model}"
SEEING_MODEL = "{seeing model}"

# A large red circle, 64 x 64.
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQMAAACQp+OdAAAABlBMVEX6+PDcKCgDN0SPAAAAYklEQVR42tXPsQmEQBAF0LfD"
    "BWZagqVcZ2dplrIlGBqIe4EriCAY6o8e/M/A8Ly0ueK3VJQVQZI2BAPBhy9BQ0/Q0RH7sSN6movqDjLzRTUxEcxkgoURpFK2TVFhWM+fvjZ/fQETgjtvOh0A"
    "AAAASUVORK5CYII="
)

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Field:
    """What is said of one field of a body: `default` is what counts without it (None: nothing in particular), `limits`
    are JSON Schema's keywords beside its type, or in place of it if there is a `type` or an `anyOf` among them.
    `required` ones may be left out or null as far as their struct is concerned, but not as far as the handler is.
    """

    description: str
    default: Any = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    required: bool = False


Fields = Mapping[type, Mapping[str, Field]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A part of the path or of the query; `type` is one that msgspec knows, `example` may be `ANY_MODEL`."""

    name: str
    description: str
    where: Literal["path", "query"] = "query"
    type: Any = str
    example: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A body that is answered with success by a server that has a model of the kind it names. `files` has, by field of
    a form, the name and the text of a file.
    """

    summary: str
    body: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Body:
    """`type` is the msgspec struct that it is read with."""

    type: Any
    examples: tuple[Example, ...] = ()
    content_type: str = JSON
    # Fields of other servers that are read to be refused, each with the reason.
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """Server-sent events: the data of each is JSON of one of the types `events`; `last` is that of the last one, if it
    is a word.
    """

    events: tuple[Any, ...]
    last: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with `status`. `contents` has, by content type, the type of what is in it: one that msgspec knows, or a
    `Stream`. `sample` is one that was seen, as JSON.
    """

    status: int
    description: str
    contents: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    sample: Any = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. `path` is as Starlette has it; the operation is found under each of `prefixes` in front of it, the
    first of which is the one to use. `public` operations never ask for a key.
    """

    method: str
    path: str
    summary: str
    description: str
    replies: tuple[Reply, ...]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    prefixes: tuple[str, ...] = ("",)
    public: bool = False

    @property
    def paths(self) -> list[str]:
        """Every path, with `{name}` for a part of it that varies."""
        path = re.sub(r"{(\w+):\w+}", r"{\1}", self.path)
        return [prefix + path for prefix in self.prefixes]

    @property
    def id(self) -> str:
        """A name that is the operation's own, such as post_v1_chat_completions."""
        return re.sub(r"\W+", "_", f"{self.method.lower()}{self.paths[0]}").strip("_")


@dataclass(frozen=True, slots=True)
class Group:
    """Operations that are explained together; `fields` are those of the structs that their bodies and answers have."""

    name: str
    description: str
    operations: tuple[Operation, ...]
    fields: Fields = field(default_factory=dict)
