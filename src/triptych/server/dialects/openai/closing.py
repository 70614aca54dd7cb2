"""JSON schemas of objects that have the properties they list and no others, where they do not say otherwise.

The standard lets an object have any others. Nobody who lists properties means more, and a model that was not trained
for it could go on inventing some until its tokens end: clients that leave `additionalProperties` out (LangChain's
and instructor's tools, instructor's schemas) would get no whole answer. vLLM reads schemas the same way.
"""

from __future__ import annotations

import json
from typing import Any

# Where a schema has other schemas: by name, and as they are.
_NAMED_PARTS = {"properties", "$defs", "definitions"}
_PARTS = {"items", "prefixItems", "anyOf", "oneOf"}
# Beside one of these an object may get its properties from elsewhere, and stays as it is.
_OPEN = {
    "additionalProperties", "patternProperties", "unevaluatedProperties", "anyOf", "oneOf", "$ref", "not", "if",
    "dependentSchemas",
}  # fmt: skip


def closed(schema: Any) -> Any:
    """`schema` with its objects closed. One with `allOf`, whose parts add up, stays as it is."""
    return schema if '"allOf"' in json.dumps(schema) else _closed(schema)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for key in _NAMED_PARTS & found.keys():
        if isinstance(found[key], dict):
            found[key] = {name: _closed(part) for name, part in found[key].items()}
    for key in _PARTS & found.keys():
        found[key] = _closed(found[key])
    if _lists_all(found):
        found["additionalProperties"] = False
    return found


def _lists_all(schema: dict[str, Any]) -> bool:
    """Whether an object has no properties but those it lists; what is required and not listed must be allowed too."""
    properties, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(properties, dict) or schema.keys() & _OPEN:
        return False
    return not isinstance(required, list) or all(name in properties for name in required if isinstance(name, str))
