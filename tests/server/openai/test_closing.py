"""Schemas whose objects have what they list and nothing else, where they do not say otherwise."""

import json

import pytest
from llguidance import LLMatcher, LLTokenizer

from triptych.server.dialects.openai.closing import closed

ONE = {"type": "object", "properties": {"a": {"type": "integer"}}}
SHUT = {**ONE, "additionalProperties": False}


def test_objects_are_closed_wherever_they_stand():
    assert closed(ONE) == SHUT
    assert closed({"type": "array", "items": ONE}) == {"type": "array", "items": SHUT}
    assert closed({"anyOf": [ONE, {"type": "null"}]}) == {"anyOf": [SHUT, {"type": "null"}]}
    nested = {"$defs": {"x": ONE}, "type": "object", "properties": {"x": {"$ref": "#/$defs/x"}}}
    assert closed(nested) == {
        "$defs": {"x": SHUT}, "type": "object", "properties": {"x": {"$ref": "#/$defs/x"}},
        "additionalProperties": False,
    }  # fmt: skip
    assert "additionalProperties" not in ONE  # what was given is not changed


@pytest.mark.parametrize(
    "schema",
    [
        {}, True, {"type": "string"}, {"type": "object"}, {**ONE, "additionalProperties": True},
        {**ONE, "additionalProperties": {"type": "string"}}, {**ONE, "patternProperties": {"^x": {}}},
        {**ONE, "anyOf": [{"required": ["a"]}]}, {**ONE, "required": ["b"]}, {**ONE, "$ref": "#/x"},
        {"allOf": [ONE, {"type": "object", "properties": {"b": {}}}]}, {"$defs": {"x": ONE}, "allOf": [{"$ref": "#"}]},
        {"const": ONE}, {"enum": [ONE]}, {"type": "object", "default": ONE},
    ],
)  # fmt: skip
def test_what_says_otherwise_stays(schema):
    assert closed(schema) == schema


def test_properties_that_are_called_like_keywords():
    schema = {"type": "object", "properties": {"properties": ONE, "items": {"type": "integer"}}}
    assert closed(schema)["properties"] == {"properties": SHUT, "items": {"type": "integer"}}
    assert closed(closed(schema)) == closed(schema)


@pytest.mark.parametrize(("schema", "accepted"), [(ONE, True), (closed(ONE), False)])
def test_a_grammar_of_it_takes_no_other_properties(schema, accepted):
    """Bytes stand for tokens: what decides is the grammar."""
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
    matcher = LLMatcher(LLTokenizer("byte"), grammar)
    tokens = list(b'{"a": 1, "b"')
    assert (matcher.validate_tokens(tokens) == len(tokens)) is accepted
