"""The reference page: an OpenAPI document as people read it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup, escape

from .curl import colored, curl
from .pages import render

Document = Mapping[str, Any]
Schema = Mapping[str, Any]

# What the engine's integers can hold; a limit that says no more than that is not shown.
_WIDEST = 1 << 53


@dataclass(frozen=True, slots=True)
class Row:
    """A field or a parameter; `facts` are its default and its limits."""

    name: str
    kind: Markup
    description: str
    required: bool
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """An example: the command, and the same in colours."""

    summary: str
    command: str
    colored: Markup


@dataclass(frozen=True, slots=True)
class Answer:
    status: str
    description: str
    kinds: tuple[tuple[str, Markup], ...]
    sample: Markup | None
    headers: tuple[tuple[str, str], ...]

    @property
    def failed(self) -> bool:
        return self.status[0] in "45"


@dataclass(frozen=True, slots=True)
class Section:
    """One operation."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    key: bool
    parameters: tuple[Row, ...]
    fields: tuple[Row, ...]
    refused: tuple[tuple[str, str], ...]
    examples: tuple[Shown, ...]
    answers: tuple[Answer, ...]


def reference(document: Document) -> str:
    """The page, as HTML."""
    groups = [(tag, [_section(document, *found) for found in _operations(document, tag["name"])])
              for tag in document["tags"]]  # fmt: skip
    return render(
        "reference.html",
        section="reference",
        info=document["info"],
        base=document["servers"][0]["url"],
        keys="securitySchemes" in document["components"],
        groups=groups,
        objects=list(_objects(document)),
    )


def _operations(document: Document, tag: str) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["tags"] == [tag]:
                yield method.upper().removeprefix("X-"), path, operation


def _section(document: Document, method: str, path: str, operation: Document) -> Section:
    contents: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
    content_type, content = next(iter(contents.items()), ("", dict[str, Any]()))
    body = _resolved(document, content.get("schema", {}))
    base, key = document["servers"][0]["url"], "security" in operation
    commands = [
        (example["summary"], curl(base, method, path, operation, key, content_type, example))
        for example in content.get("examples", {}).values()
    ] or [("", curl(base, method, path, operation, key))]
    return Section(
        operation["operationId"],
        method,
        path,
        operation["summary"],
        operation["description"],
        key,
        tuple(_parameter(parameter) for parameter in operation.get("parameters", [])),
        _rows(body),
        tuple(body.get("x-refused", {}).items()),
        tuple(Shown(summary, command, colored(command)) for summary, command in commands),
        tuple(_answer(status, reply) for status, reply in operation["responses"].items()),
    )


def _parameter(parameter: Document) -> Row:
    place = Markup("{} <span class=place>in the {}</span>").format(_kind(parameter["schema"]), parameter["in"])
    return Row(parameter["name"], place, parameter["description"], parameter["required"], _facts(parameter["schema"]))


def _rows(schema: Schema, null: bool = False) -> tuple[Row, ...]:
    """The fields of an object. That they take `null` is told where it means something: in answers."""
    required = schema.get("required", ())
    return tuple(
        Row(name, _kind(each, null), each.get("description", ""), name in required, _facts(each))
        for name, each in schema.get("properties", {}).items()
    )


def _answer(status: str, reply: Document) -> Answer:
    kinds = tuple((kind, _kind(inner(content["schema"]))) for kind, content in reply.get("content", {}).items())
    headers = tuple((name, header["description"]) for name, header in reply.get("headers", {}).items())
    samples = [content["example"] for content in reply.get("content", {}).values() if "example" in content]
    sample = colored(json.dumps(samples[0], indent=2, ensure_ascii=False)) if samples else None
    return Answer(status, reply["description"], kinds, sample, headers)


# ---- types in words -------------------------------------------------------------------------------------------------


def _resolved(document: Document, schema: Schema) -> Schema:
    name = _name(schema)
    return document["components"]["schemas"][name] if name else schema


def _objects(document: Document) -> Iterator[tuple[str, str, tuple[Row, ...]]]:
    """Name, description and fields of what sections point to; bodies of requests are shown in their sections instead.

    Of what callers send it is told which fields are required, of what they get which are not always there.
    """
    schemas = document["components"]["schemas"]
    bodies = {_name(content["schema"]) for content in _bodies(document)}
    sent = _within(schemas, bodies)
    for name, schema in schemas.items():
        if name not in bodies:
            rows = _rows(schema, null=name not in sent)
            yield name, schema.get("description", ""), rows if name in sent else tuple(map(_received, rows))


def _bodies(document: Document) -> Iterator[Document]:
    for methods in document["paths"].values():
        for operation in methods.values():
            yield from operation.get("requestBody", {}).get("content", {}).values()


def _name(schema: Schema) -> str:
    """The name of the schema that is pointed to, "" if none is."""
    return schema.get("$ref", "").rpartition("/")[2]


def _within(schemas: Schema, names: set[str]) -> set[str]:
    """All that the named schemas are made of, themselves too."""
    found: set[str] = set()
    waiting = [name for name in names if name]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(schemas[name]))
    return found


def _received(row: Row) -> Row:
    return replace(row, required=False, facts=() if row.required else ("not always there",))


def inner(schema: Schema) -> Schema:
    """The schema of what an answer holds: of a stream that of the data of its events."""
    parts = schema.get("properties", {}).get("data", {}).get("anyOf", [])
    events = [part["contentSchema"] for part in parts if "contentSchema" in part]
    return {"anyOf": events} if events else schema


def _kind(schema: Schema, null: bool = True) -> Markup:
    """A type in words, with links to objects."""
    if "$ref" in schema:
        return Markup('<a href="#object-{0}">{0}</a>').format(_name(schema))
    if "anyOf" in schema:
        kinds = [_kind(part, null) for part in schema["anyOf"] if null or part != {"type": "null"}]
        return Markup(" or ").join(dict.fromkeys(kinds))
    if "enum" in schema:
        return Markup(" or ").join(Markup("<code>{}</code>").format(_value(value)) for value in schema["enum"])
    kinds = schema.get("type", "anything")
    if isinstance(kinds, list):
        return Markup(" or ").join(_kind({**schema, "type": each}) for each in kinds if null or each != "null")
    if kinds == "array" and schema.get("items"):
        item = _kind(schema["items"])
        return Markup("list of ({})" if "anyOf" in schema["items"] else "list of {}").format(item)
    if kinds == "object" and schema.get("additionalProperties"):
        return Markup("object of {}").format(_kind(schema["additionalProperties"]))
    if kinds == "object" and schema.get("properties"):
        inside = Markup(", ").join(Markup("<code>{}</code>").format(name) for name in schema["properties"])
        return Markup("object with {}").format(inside)
    return Markup(escape(kinds))


def _facts(schema: Schema) -> tuple[str, ...]:
    """Default and limits in words."""
    found = []
    if "default" in schema:
        found.append(f"default {_value(schema['default'])}")
    parts = [schema, *schema.get("anyOf", [])]
    limits = {key: value for part in parts for key, value in part.items() if _LIMITS.get(key)}
    low, high = limits.get("minimum"), limits.get("maximum")
    if low is not None and high is not None and low > -_WIDEST and high < _WIDEST:
        return (*found, f"from {_value(low)} to {_value(high)}")
    return (*found, *(f"{_LIMITS[key]} {_value(value)}" for key, value in limits.items() if abs(value) < _WIDEST))


_LIMITS = {
    "minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above", "exclusiveMaximum": "below",
    "minItems": "not shorter than", "maxItems": "not longer than",
}  # fmt: skip


def _value(value: Any) -> str:
    """A value as JSON writes it, without quotes and needless digits."""
    if isinstance(value, str):
        return value
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)
