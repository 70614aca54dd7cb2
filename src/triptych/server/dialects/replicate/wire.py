"""What callers send, as msgspec structs. Fields that are not named here are ignored, as clients pass on any option."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from .errors import Invalid, ProblemError, invalid

T = TypeVar("T")

EVENTS = ("start", "output", "logs", "completed")


class ModelPrediction(msgspec.Struct, kw_only=True):
    """A prediction by a model that the path names."""

    input: dict[str, Any] | None = None
    stream: bool | None = None
    webhook: str | None = None
    webhook_events_filter: list[str] | None = None
    webhook_completed: str | None = None


class VersionPrediction(ModelPrediction, kw_only=True):
    """A prediction by the version that it names."""

    version: str | None = None


by_model = msgspec.json.Decoder(ModelPrediction)
by_version = msgspec.json.Decoder(VersionPrediction)

_WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "null": "null"}


def read_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A body as what `decoder` makes of it. Raises ProblemError: 400 for what is no JSON, 422 for a wrong type."""
    try:
        return decoder.decode(body)
    except RecursionError:
        raise ProblemError(400, "The body is nested too deeply.") from None
    except UnicodeDecodeError:
        raise ProblemError(400, "The body is not valid JSON: it is not UTF-8.") from None
    except msgspec.ValidationError as error:
        raise invalid(_wrong(str(error))) from None
    except msgspec.DecodeError as error:
        raise ProblemError(400, f"The body is not valid JSON: {error}.") from None


def _wrong(text: str) -> Invalid:
    """msgspec's words for a wrong type in those of Replicate's validator."""
    what, _, where = text.partition(" - at `")
    field = where.rstrip("`").removeprefix("$").removeprefix(".").replace("[...]", "")
    kinds = re.findall(r"`([^`]*)`", what)
    if len(kinds) == 2:
        expected, given = (_WORDS.get(kind.partition(" |")[0], kind.partition(" |")[0]) for kind in kinds)
        what = f"Invalid type. Expected: {expected}, given: {given}"
    return Invalid("invalid_type", field, what)
