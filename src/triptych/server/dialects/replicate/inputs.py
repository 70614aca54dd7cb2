"""A model's inputs: their schema as Replicate publishes it, and what is wrong with values that were given for them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .errors import Invalid, invalid

# Whole numbers that every JSON reader keeps exact.
_MOST = 1 << 53
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.+", re.DOTALL)
Kind = Literal["string", "integer", "number", "array", "texts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input. Kind `array` is of strings; `texts` is a string, of which an array is taken as well. Limits hold for
    numbers, `uri` for strings.
    """

    name: str
    kind: Kind
    description: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    required: bool = False
    uri: bool = False

    def schema(self, order: int) -> dict[str, Any]:
        """In JSON Schema, at its place in forms."""
        told: dict[str, Any] = {
            "type": "string" if self.kind == "texts" else self.kind,
            "title": self.name.replace("_", " ").capitalize(),
            "description": self.description,
            "x-order": order,
        }
        if self.uri:
            told["format"] = "uri"
        if self.kind == "array":
            told["items"] = {"type": "string"}
        for name in ("default", "minimum", "maximum"):
            if getattr(self, name) is not None:
                told[name] = getattr(self, name)
        return told

    def problems(self, value: Any) -> Iterator[Invalid]:
        """What is wrong with a value."""
        place = f"input.{self.name}"
        wanted = "string" if self.kind == "texts" and not isinstance(value, list) else self.kind
        if wanted in ("array", "texts"):
            if isinstance(value, list):
                for number, item in enumerate(value):
                    if not isinstance(item, str):
                        yield _wrong_type(f"{place}.{number}", "string", item)
            else:
                yield _wrong_type(place, "array", value)
        elif not _is(value, wanted):
            yield _wrong_type(place, wanted, value)
        elif wanted == "string":
            if self.uri and not _URI.fullmatch(value):
                yield Invalid("format", place, "Does not match format 'uri'")
        else:
            yield from self._limits(place, value)

    def _limits(self, place: str, value: float) -> Iterator[Invalid]:
        least = -_MOST if self.minimum is None else self.minimum
        most = _MOST if self.maximum is None else self.maximum
        if value < least:
            yield Invalid("number_gte", place, f"Must be greater than or equal to {least:g}")
        if value > most:
            yield Invalid("number_lte", place, f"Must be less than or equal to {most:g}")


def input_schema(inputs: Sequence[Input]) -> dict[str, Any]:
    """The schema called Input."""
    return {
        "type": "object",
        "title": "Input",
        "required": [each.name for each in inputs if each.required],
        "properties": {each.name: each.schema(order) for order, each in enumerate(inputs)},
    }


def check(inputs: Sequence[Input], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all inputs, defaults where nothing (or null) was given; what is not known is left out.

    Raises ProblemError with everything that is wrong.
    """
    values: dict[str, Any] = {}
    wrong: list[Invalid] = []
    for each in inputs:
        value = given.get(each.name)
        if value is None:
            if each.required:
                wrong.append(Invalid("required", "input", f"{each.name} is required"))
            values[each.name] = each.default
            continue
        wrong += each.problems(value)
        values[each.name] = int(value) if each.kind == "integer" and isinstance(value, float) else value
    if wrong:
        raise invalid(*wrong)
    return values


def _is(value: Any, kind: str) -> bool:
    if kind == "string":
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return kind == "number" or float(value).is_integer()


def _wrong_type(place: str, expected: str, value: Any) -> Invalid:
    return Invalid("invalid_type", place, f"Invalid type. Expected: {expected}, given: {_kind(value)}")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    kinds = {str: "string", int: "integer", float: "number", list: "array"}
    return kinds.get(type(value), "object")
