"""The form that a request demands of the text, in all the spellings that clients use."""

from __future__ import annotations

import json
from typing import Any

from ....engine.request import Constraint, ConstraintKind
from .closing import closed
from .errors import OpenAIError, invalid, unsupported
from .wire import ResponsesRequest, Sampled, TextFormat

_DEEPEST_SCHEMA = 64


def constraint_of(request: Sampled, forced: Constraint | None = None) -> Constraint | None:
    """The one form that is demanded of the text, in whichever spelling. Raises when there are two; of `response_format`
    and a forced tool the tool counts, whose call has no other text beside it.
    """
    found = dict(_spelled(request))
    name, wanted = _wanted(request)
    if found and (wanted or forced):
        other = next(iter(found))
        rival = name if wanted else "tool_choice"
        raise invalid(rival, f"{rival} and {other} both constrain the output; give one.")
    if len(found) > 1:
        raise invalid(list(found)[1], f"{' and '.join(found)} both constrain the output; give one.")
    return forced or wanted or next(iter(found.values()), None)


def _spelled(request: Sampled) -> list[tuple[str, Constraint]]:
    kinds: dict[str, ConstraintKind] = {
        "guided_json": "json_schema", "json_schema": "json_schema", "guided_regex": "regex", "regex": "regex",
        "guided_choice": "choice",
    }  # fmt: skip
    found = [
        (name, _constraint(kind, getattr(request, name), name))
        for name, kind in kinds.items()
        if getattr(request, name) is not None
    ]
    known: dict[str, ConstraintKind] = {
        "json": "json_schema", "regex": "regex", "choice": "choice", "json_object": "json_object",
    }  # fmt: skip
    for name, value in (request.structured_outputs or {}).items():
        path = f"structured_outputs.{name:.80}"
        if value is None or value is False:
            continue
        if name not in known:
            raise unsupported(path, f"is not built; there are {', '.join(known)}.")
        found.append((path, _constraint(known[name], value, path)))
    return found


def _constraint(kind: ConstraintKind, value: Any, param: str) -> Constraint:
    """Raises for a `value` that cannot be of this kind."""
    if kind == "json_schema":
        return Constraint(kind, schema(value, param))
    if kind == "regex" and not isinstance(value, str):
        raise invalid(param, f"{param} must be a string.")
    if kind == "choice":
        texts = isinstance(value, list) and all(isinstance(choice, str) for choice in value)
        if not texts or not value:
            raise invalid(param, f"{param} must be a list of strings, at least one.")
    return Constraint(kind, value)


def _wanted(request: Sampled) -> tuple[str, Constraint | None]:
    """The form that OpenAI's own field asks for, and what that field is called."""
    if not isinstance(request, ResponsesRequest):
        return "response_format", _response_format(request.response_format)
    return "text.format", _text_format(request.text.format if request.text else None)


def _text_format(wanted: TextFormat | None) -> Constraint | None:
    """What the Responses API asks for; a schema stands beside its type, without an object around it."""
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type not in ("json_object", "json_schema"):
        raise OpenAIError(
            f"text.format.type {wanted.type!r:.80} is not supported; there are text, json_object and json_schema.",
            "text.format.type", "unsupported_value",
        )  # fmt: skip
    if wanted.type == "json_object" and wanted.schema is None:
        return Constraint("json_object")
    return Constraint("json_schema", schema(wanted.schema or {}, "text.format.schema"))


def _response_format(wanted: dict[str, Any] | None) -> Constraint | None:
    kind = (wanted or {}).get("type", "text")
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        given = wanted.get("schema")
        path = "response_format.schema"
        return Constraint("json_object") if given is None else Constraint("json_schema", schema(given, path))
    if kind == "json_schema":
        inner = wanted.get("json_schema")
        if not isinstance(inner, dict):
            why = "response_format of type json_schema needs a json_schema object."
            raise invalid("response_format.json_schema", why)
        given = inner.get("schema")
        path = "response_format.json_schema.schema"
        return Constraint("json_schema", {} if given is None else schema(given, path))
    raise OpenAIError(
        f"response_format.type {kind!r:.80} is not supported; there are text, json_object and json_schema.",
        "response_format.type", "unsupported_value",
    )  # fmt: skip


def schema(value: Any, param: str) -> Any:
    """A JSON schema, also as text, its objects closed. Raises for what is none, and for one that is nested too deeply
    to be walked.
    """
    why = None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            why = f"it is not JSON ({error})"
    if why is None and not isinstance(value, dict | bool):
        why = "it is not an object"
    if why is None and _deeper_than(value, _DEEPEST_SCHEMA):
        why = f"it is nested deeper than {_DEEPEST_SCHEMA} levels"
    if why is not None:
        raise OpenAIError(f"Invalid schema for response_format: {param}: {why}.", param, "invalid_json_schema")
    return closed(value)


def _deeper_than(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        inner = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [part for parts in inner for part in parts]
    return bool(level)
