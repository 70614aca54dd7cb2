"""Tools: read, shown, forced, and called."""

import json

import msgspec
import pytest

from triptych.server.dialects.openai.content import Content
from triptych.server.dialects.openai.errors import OpenAIError
from triptych.server.dialects.openai.tools import Tools
from triptych.server.dialects.openai.wire import ChatRequest

NUMBERS = {
    "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False,
}  # fmt: skip
NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


def tool(name: str, parameters: object = NUMBERS, **more: object) -> dict:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def named(name: object) -> dict:
    return {"type": "function", "function": {"name": name}}


ADD, SUB = tool("add", description="Adds."), tool("sub", None)


def tools(*given: dict, **fields) -> Tools:
    return Tools.of(msgspec.convert({"tools": list(given), **fields}, ChatRequest))


def refused(*given: dict, **fields) -> OpenAIError:
    with pytest.raises(OpenAIError) as error:
        tools(*given, **fields)
    assert error.value.status == 400
    assert len(error.value.message) < 300
    return error.value


# ---- what is asked for ----------------------------------------------------------------------------------------------


def test_the_choice():
    assert not tools(ADD).forced
    assert not tools(ADD, tool_choice="auto").forced
    assert tools(ADD, tool_choice="required").forced
    assert tools(ADD, tool_choice="none") == Tools()
    chosen = tools(ADD, SUB, tool_choice=named("sub"))
    assert ([each.name for each in chosen.tools], chosen.forced, chosen.several) == (["sub"], True, False)
    assert tools(ADD).several
    assert not tools(ADD, parallel_tool_calls=False).several


@pytest.mark.parametrize("flat", [False, True])
def test_allowed_tools(flat):
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}, {"name": "sub"}]}
    choice = {"type": "allowed_tools", **(allowed if flat else {"allowed_tools": allowed})}
    found = tools(ADD, SUB, tool("mul"), tool_choice=choice)
    assert [each.name for each in found.tools] == ["add", "sub"]
    assert found.forced
    allowed["mode"] = "auto"
    assert not tools(ADD, SUB, tool_choice={"type": "allowed_tools", "allowed_tools": allowed}).forced


def test_no_tools():
    for choice in (None, "none", "auto"):
        assert tools(tool_choice=choice) == Tools()
    for choice in ("required", named("add")):
        assert refused(tool_choice=choice).param == "tool_choice"


@pytest.mark.parametrize(
    "choice",
    [
        "sometimes", "x" * 1000, named("other"), named(None), named({}), named(["add"]), {"type": "function"},
        {"type": "function", "function": "add"}, {"type": "custom", "custom": {"name": "add"}},
        {"type": "allowed_tools"}, {"type": "allowed_tools", "allowed_tools": "add"},
        {"type": "allowed_tools", "tools": []}, {"type": "allowed_tools", "tools": ["add"]},
        {"type": "allowed_tools", "tools": [named("add"), named("other")]},
    ],
)  # fmt: skip
def test_choices_that_are_none(choice):
    assert refused(ADD, tool_choice=choice).param == "tool_choice"


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ({"type": "custom", "custom": {"name": "x"}}, ".type", "unsupported_parameter"),
        ({"type": "function"}, ".function", None),
        ({"type": "function", "function": {"name": 5}}, ".function", None),
        (tool("x", "y"), ".function.parameters", None),
        (tool("x", []), ".function.parameters", None),
    ],
)
def test_tools_that_are_none(given, param, code):
    error = refused(ADD, given)
    assert (error.param, error.code) == ("tools[1]" + param, code)


def test_parameters_that_are_nested_too_deeply():
    parameters: dict = {}
    for _ in range(100):
        parameters = {"type": "object", "properties": {"a": parameters}}
    assert refused(tool("deep", parameters)).code == "invalid_json_schema"


def test_the_old_functions_are_refused():
    for fields in ({"functions": [{"name": "add"}]}, {"function_call": {"name": "add"}}):
        assert refused(**fields).code == "unsupported_parameter"
    assert tools(functions=[], function_call="auto") == Tools()


# ---- what the model is told and held to -----------------------------------------------------------------------------


def test_they_are_shown_in_the_system_message():
    content = Content([{"role": "user", "content": "hi"}])
    tools(ADD, SUB).show(content)
    [system, user] = content.messages
    assert system == {
        "role": "system",
        "content": "You can call these functions:\n"
        f"- add: Adds. Arguments: {json.dumps(NUMBERS)}\n"
        f"- sub: Arguments: {json.dumps(NO_ARGUMENTS)}\n"
        'To call one with {"name": ..., "arguments": ...} and nothing else.',
    }
    assert user == {"role": "user", "content": "hi"}
    content = Content([{"role": "system", "content": "be brief"}])
    tools(ADD, tool_choice="required").show(content)
    assert content.messages[0]["content"].startswith("be brief\n\nYou can call")
    content = Content([{"role": "user", "content": "hi"}])
    tools(ADD, tool_choice="none").show(content)
    assert len(content.messages) == 1


def test_a_forced_call_has_its_form():
    one = tools(ADD, tool_choice=named("add")).constraint
    assert one.kind == "json_schema"
    assert one.value == {
        "type": "object", "properties": {"name": {"const": "add"}, "arguments": NUMBERS},
        "required": ["name", "arguments"], "additionalProperties": False,
    }  # fmt: skip
    any_of = tools(ADD, SUB, tool_choice="required", parallel_tool_calls=False).constraint.value
    assert [call["properties"]["name"]["const"] for call in any_of["anyOf"]] == ["add", "sub"]
    several = tools(ADD, tool_choice="required").constraint.value
    assert (several["type"], several["items"], several["minItems"]) == ("array", one.value, 1)
    assert tools(ADD).constraint is None


@pytest.mark.parametrize(
    ("given", "fields", "place"),
    [
        (1, {"tool_choice": named("t0")}, "#/properties/arguments"),
        (2, {"parallel_tool_calls": False}, "#/anyOf/1/properties/arguments"),
        (1, {}, "#/items/properties/arguments"),
        (2, {}, "#/items/anyOf/1/properties/arguments"),
    ],
)
def test_references_inside_parameters_still_hold(given, fields, place):
    parameters = {
        "$defs": {"N": {"type": "integer"}},
        "properties": {"a": {"$ref": "#/$defs/N"}, "b": {"anyOf": [{"$ref": "#"}, {"$ref": "other.json"}]}},
    }
    found = tools(*(tool(f"t{number}", parameters) for number in range(given)), **{"tool_choice": "required", **fields})
    schema = found.constraint.value
    moved = schema
    for step in place.split("/")[1:]:
        moved = moved[int(step) if isinstance(moved, list) else step]
    assert moved["properties"] == {
        "a": {"$ref": place + "/$defs/N"}, "b": {"anyOf": [{"$ref": place}, {"$ref": "other.json"}]},
    }  # fmt: skip
    assert moved["$defs"] == parameters["$defs"]


# ---- what comes back ------------------------------------------------------------------------------------------------


def test_a_text_of_the_form_is_a_call():
    found = tools(ADD, SUB)
    [call] = found.calls(' {"name": "add", "arguments": {"a": 1, "b": "ä"}}')
    assert call["type"] == "function"
    assert call["function"] == {"name": "add", "arguments": '{"a": 1, "b": "ä"}'}
    first, second = found.calls('[{"name": "add", "arguments": {}}, {"name": "sub"}]')
    assert [first["function"]["arguments"], second["function"]["arguments"]] == ["{}", "{}"]
    assert first["id"] != second["id"]
    assert first["id"].startswith("call_")


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "{", "[]", "{}", '{"name": "other"}', '{"name": {}}', '{"name": ["add"]}', '[{"name": "add"}, 5]',
        '{"name": "add"} and more', "[" * 100_000, "5",
    ],
)  # fmt: skip
def test_other_texts_are_no_calls(text):
    assert tools(ADD).calls(text) is None
    assert Tools().calls('{"name": "add"}') is None


CALL = '{"name": "add", "arguments": {"a": 1}}'


def streamed(found: Tools, text: str, finish: str = "stop") -> tuple[list[dict], bool]:
    holder = found.holder()
    deltas = [holder.push(character, None) for character in text] + [holder.push("", finish)]
    return [delta for delta in deltas if delta is not None], holder.called


def test_a_call_goes_out_whole_and_a_text_as_it_comes():
    [delta], called = streamed(tools(ADD), CALL)
    [call] = delta["tool_calls"]
    assert called
    assert call["index"] == 0
    assert call["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert streamed(tools(ADD), " hi") == ([{"content": " h"}, {"content": "i"}], False)
    assert streamed(Tools(), "{a") == ([{"content": "{"}, {"content": "a"}], False)


def test_what_looked_like_a_call_and_is_none_goes_out_at_the_end():
    assert streamed(tools(ADD), "{not") == ([{"content": "{not"}], False)
    assert streamed(tools(ADD, tool_choice="required"), "no call") == ([{"content": "no call"}], False)


def test_a_text_that_was_cut_is_no_call():
    assert streamed(tools(ADD), CALL, "length") == ([{"content": CALL}], False)
