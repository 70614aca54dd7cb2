"""The description of a server for programs: an OpenAPI 3.1 document, made of the operations of its routes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import __version__
from .operations import ANY_MODEL, JSON, SEEING_MODEL, Body, Example, Group, Operation, Parameter, Reply, Stream
from .schemas import Schemas

_ABOUT = """LLaVA and Mixtral on hardware you own, behind the APIs people already call for them.

A trailing slash means nothing, and nothing is ever redirected. Every `GET` also answers `HEAD`, every path `OPTIONS`.
Every answer has an `x-request-id`: the one that came with the request, or a new one."""

_METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")
_NO_KEY = Reply(401, "A key is needed, and none or a wrong one was given.")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a document says of the server it is for: its `base` URL without a final slash, whether it asks for keys, and
    the names of models that examples are about: any one, and one that takes images (None: there is none).
    """

    base: str
    keys: bool = False
    any_model: str = "MODEL"
    seeing_model: str | None = None


def document(groups: Sequence[Group], facts: Facts) -> dict[str, Any]:
    """The whole document, as JSON has it."""
    operations = [operation for group in groups for operation in group.operations]
    fields: dict[type, Any] = {}
    for group in groups:
        fields |= group.fields
    schemas = Schemas(_types(operations), fields, _refused(operations))
    paths: dict[str, dict[str, Any]] = {}
    for group in groups:
        for operation in group.operations:
            told = {"tags": [group.name], **_described(operation, schemas, facts)}
            paths.setdefault(operation.paths[0], {})[_key(operation.method)] = told
    components: dict[str, Any] = {"schemas": schemas.components}
    if facts.keys:
        scheme = {"type": "http", "scheme": "bearer", "description": "A key of this server."}
        components["securitySchemes"] = {"key": scheme}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Triptych", "version": __version__, "description": _ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": facts.base}],
        "tags": [{"name": group.name, "description": group.description} for group in groups],
        "paths": paths,
        "components": components,
    }  # fmt: skip


def _key(method: str) -> str:
    """Where an operation stands. OpenAPI 3.1 has no place for QUERY."""
    return method.lower() if method in _METHODS else f"x-{method.lower()}"


def _types(operations: Iterable[Operation]) -> list[Any]:
    """All types that something is said of, each once."""
    found: list[Any] = []
    for operation in operations:
        asked = [parameter.type for parameter in operation.parameters]
        asked += [operation.body.type] if operation.body else []
        for content in (content for reply in operation.replies for content in reply.contents.values()):
            asked += content.events if isinstance(content, Stream) else [content]
        found += [type for type in asked if type not in found]
    return found


def _refused(operations: Iterable[Operation]) -> dict[type, Mapping[str, str]]:
    bodies = [operation.body for operation in operations if operation.body is not None]
    return {body.type: body.refused for body in bodies if body.refused}


def _described(operation: Operation, schemas: Schemas, facts: Facts) -> dict[str, Any]:
    also = operation.paths[1:]
    told: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.description,
    }
    if also:
        told["description"] += f"\n\nAlso at {' and '.join(f'`{path}`' for path in also)}."
        told["x-also-at"] = also
    if operation.parameters:
        told["parameters"] = [_parameter(each, schemas, facts) for each in operation.parameters]
    if operation.body is not None:
        told["requestBody"] = _body(operation.body, schemas, facts)
    replies = operation.replies
    if facts.keys and not operation.public:
        refusals = [reply for reply in replies if reply.status >= 400]
        replies = (*replies, replace(_NO_KEY, contents=refusals[0].contents if refusals else {}))
        told["security"] = [{"key": []}]
    told["responses"] = {
        str(reply.status): _reply(reply, schemas, facts) for reply in sorted(replies, key=lambda reply: reply.status)
    }
    return told


def _parameter(parameter: Parameter, schemas: Schemas, facts: Facts) -> dict[str, Any]:
    told = {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.where == "path",
        "description": parameter.description,
        "schema": schemas.of(parameter.type),
    }
    if parameter.example is not None:
        told["example"] = _filled(parameter.example, facts)
    return told


def _body(body: Body, schemas: Schemas, facts: Facts) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schemas.of(body.type)}
    shown = [example for example in body.examples if facts.seeing_model or not _about_images(example)]
    if shown:
        content["examples"] = {
            re.sub(r"\W+", "-", example.summary.lower()).strip("-"): _example(example, facts) for example in shown
        }
    return {"required": True, "content": {body.content_type: content}}


def _example(example: Example, facts: Facts) -> dict[str, Any]:
    told = {"summary": example.summary, "value": _filled(example.body, facts)}
    files = {name: {"filename": file, "text": _filled(text, facts)} for name, (file, text) in example.files.items()}
    return {**told, "x-files": files} if files else told


def _about_images(example: Example) -> bool:
    parts = [example.body] if isinstance(example.body, Mapping) else example.body
    return any(SEEING_MODEL in part.values() for part in parts)


def _filled(value: Any, facts: Facts) -> Any:
    """With the names of models that are served."""
    if isinstance(value, str):
        return value.replace(ANY_MODEL, facts.any_model).replace(SEEING_MODEL, facts.seeing_model or facts.any_model)
    if isinstance(value, Mapping):
        return {key: _filled(part, facts) for key, part in value.items()}
    return [_filled(part, facts) for part in value] if isinstance(value, list | tuple) else value


def _reply(reply: Reply, schemas: Schemas, facts: Facts) -> dict[str, Any]:
    told: dict[str, Any] = {"description": reply.description}
    if reply.headers:
        told["headers"] = {
            name: {"description": description, "schema": {"type": "string"}}
            for name, description in reply.headers.items()
        }
    if reply.contents:
        told["content"] = {kind: {"schema": _content(content, schemas)} for kind, content in reply.contents.items()}
        if reply.sample is not None:
            told["content"][JSON]["example"] = _filled(reply.sample, facts)
    return told


def _content(content: Any, schemas: Schemas) -> dict[str, Any]:
    """OpenAPI 3.1 has no word for a stream: its schema is that of one event, whose data is JSON of another schema."""
    if not isinstance(content, Stream):
        return schemas.of(content)
    data: list[dict[str, Any]] = [
        {"type": "string", "contentMediaType": JSON, "contentSchema": schemas.of(event)} for event in content.events
    ]
    if content.last is not None:
        data.append({"const": content.last})
    about = "One of the server-sent events."
    return {"type": "object", "description": about, "properties": {"data": {"anyOf": data}}, "required": ["data"]}
