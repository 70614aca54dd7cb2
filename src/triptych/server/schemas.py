"""Types as JSON Schema: what msgspec says of them, and what is said of their fields in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from .operations import Field, Fields

Schema = dict[str, Any]

_PLACE = "#/components/schemas/{name}"
_NULL = {"type": "null"}


class Schemas:
    """JSON Schemas of `types`, with their parts by name in `components`; `fields` describe those of structs, `refused`
    are fields that are not shown, by struct.
    """

    def __init__(
        self, types: Iterable[Any], fields: Fields, refused: Mapping[type, Mapping[str, str]] | None = None
    ) -> None:
        asked = list(types)
        found, components = msgspec.json.schema_components(asked, ref_template=_PLACE)
        self._found = [(type, _plain(schema)) for type, schema in zip(asked, found, strict=True)]
        self.components: dict[str, Schema] = {name: _plain(components[name]) for name in sorted(components)}
        for struct, described in fields.items():
            if struct.__name__ in self.components:
                _describe(self.components[struct.__name__], described)
        for struct, reasons in (refused or {}).items():
            _refuse(self.components[struct.__name__], reasons)

    def of(self, type: Any) -> Schema:
        """The schema of one of the types."""
        return next(dict(schema) for asked, schema in self._found if asked is type or asked == type)


def _plain(schema: Any) -> Any:
    """Without what says nothing: titles that repeat the name, and null as the default of what may be left out."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _plain(part) for name, part in value.items()} if key == "properties" else _plain(value)
        for key, value in schema.items()
        if key != "title" and not (key == "default" and value is None)
    }


def _describe(component: Schema, described: Mapping[str, Field]) -> None:
    """Describe fields, and bring them into the order in which they are described."""
    known = component["properties"]
    told = {name: _described(known[name], field) for name, field in described.items()}
    component["properties"] = {**told, **{name: schema for name, schema in known.items() if name not in told}}
    required = [name for name, field in described.items() if field.required or name in component.get("required", ())]
    if required:
        component["required"] = required


def _described(schema: Schema, field: Field) -> Schema:
    """A field's schema with its description, its default, and limits: on each of its kinds that they are for."""
    kinds = schema.get("anyOf", [schema])
    others = [kind for kind in kinds if kind != _NULL]
    if "type" in field.limits or "anyOf" in field.limits:
        others = [dict(field.limits)]
    elif field.limits:
        others = [{**kind, **field.limits} if "$ref" not in kind else kind for kind in others]
    nullable = _NULL in kinds and not field.required
    whole: Schema = {"anyOf": [*others, _NULL]} if nullable else others[0] if len(others) == 1 else {"anyOf": others}
    more = {} if field.default is None else {"default": field.default}
    return {"description": field.description, **whole, **more}


def _refuse(component: Schema, reasons: Mapping[str, str]) -> None:
    for name in reasons:
        component["properties"].pop(name, None)
    component["x-refused"] = dict(reasons)
