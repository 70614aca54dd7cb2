"""A response's input items as clients send them, in the engine's form."""

import msgspec
import pytest

from triptych.server.dialects.openai.content import Content
from triptych.server.dialects.openai.errors import OpenAIError
from triptych.server.dialects.openai.response_input import read_input
from triptych.server.dialects.openai.wire import ResponsesRequest

IMAGE = {"type": "image"}


def read(*items: object, **fields: object) -> Content:
    return read_input(msgspec.convert({"input": list(items), **fields}, ResponsesRequest))


def shown(*items: object, **fields: object) -> list[tuple[str, object]]:
    return [(message["role"], message["content"]) for message in read(*items, **fields).messages]


def refused(*items: object, **fields: object) -> OpenAIError:
    with pytest.raises(OpenAIError) as error:
        read(*items, **fields)
    assert error.value.status == 400
    assert len(error.value.message) < 300
    return error.value


def said(role: str, content: object, **more: object) -> dict:
    return {"role": role, "content": content, **more}


def made(name: str = "add", arguments: str | None = '{"a": 1}', call_id: str = "c1") -> dict:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments, "id": "fc_1"}


def came_of(output: object, call_id: str | None = "c1") -> dict:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def text(said: str, kind: str = "input_text") -> dict:
    return {"type": kind, "text": said}


def image(url: str) -> dict:
    return {"type": "input_image", "image_url": url, "detail": "auto"}


# ---- messages -------------------------------------------------------------------------------------------------------


def test_a_string_is_a_question():
    assert shown(input="hi") == [("user", "hi")]
    assert shown(input="hi", instructions="be brief") == [("system", "be brief"), ("user", "hi")]
    assert shown(input="hi", instructions="") == [("user", "hi")]


@pytest.mark.parametrize("kind", [{}, {"type": None}, {"type": "message"}, {"type": "message", "status": "completed"}])
def test_messages_with_and_without_their_type(kind):
    assert shown(
        said("system", "a", **kind), said("user", [text("b"), text("c")], **kind),
        said("assistant", [text("d", "output_text")], id="msg_1", **kind), said("user", "e", **kind),
    ) == [("system", "a"), ("user", [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]),
          ("assistant", "d"), ("user", "e")]  # fmt: skip


def test_instructions_developers_and_the_system_are_one():
    assert shown(said("developer", "b"), said("system", "c"), said("user", "d"), instructions="a") == [
        ("system", "a\n\nb\n\nc"), ("user", "d"),
    ]  # fmt: skip


def test_an_answer_at_the_end_is_history():
    refusal = [{"type": "refusal", "refusal": "no"}]
    assert shown(said("user", "a"), said("assistant", refusal)) == [("user", "a"), ("assistant", "no"), ("user", "")]


def test_images_with_their_places():
    content = read(
        said("user", [text("a"), image("u")]), said("assistant", "b"), said("user", [image("v"), image("w")])
    )
    assert content.messages[0] == {"role": "user", "content": [IMAGE, {"type": "text", "text": "a"}]}
    assert content.urls == ["u", "v", "w"]
    assert content.params == [
        "input[0].content[1].image_url", "input[2].content[0].image_url", "input[2].content[1].image_url",
    ]  # fmt: skip


# ---- calls and what came of them ------------------------------------------------------------------------------------


def test_a_call_and_its_output():
    assert shown(said("user", "1 + 2?"), made(), came_of("3"), said("user", "and?")) == [
        ("user", "1 + 2?"), ("assistant", '{"name": "add", "arguments": {"a": 1}}'),
        ("user", "[tool result c1] 3\nand?"),
    ]  # fmt: skip


def test_calls_side_by_side_were_made_together_and_reasoning_does_not_part_them():
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": "x"}
    calls, outputs = [reasoning, made(), reasoning, made("sub", "", "c2")], [came_of("3"), came_of("4", "c2")]
    assert shown(said("user", "q"), *calls, *outputs) == [
        ("user", "q"),
        ("assistant", '[{"name": "add", "arguments": {"a": 1}}, {"name": "sub", "arguments": {}}]'),
        ("user", "[tool result c1] 3\n[tool result c2] 4"),
    ]  # fmt: skip
    [_, (_, one), _, (_, other), _] = shown(said("user", "q"), made(), came_of("3"), made("sub", None), came_of("4"))
    assert one.startswith('{"name": "add"')
    assert other.startswith('{"name": "sub"')


def test_arguments_that_are_no_json_stay_as_they_are():
    assert shown(said("user", "q"), made(arguments="{a"), came_of(""))[1][1] == '{"name": "add", "arguments": "{a"}'


def test_an_output_of_parts_may_show_an_image():
    content = read(said("user", "q"), made(), came_of([text("it is"), image("u")]))
    assert content.messages[-1]["content"] == [IMAGE, {"type": "text", "text": "[tool result c1] it is"}]
    assert content.params == ["input[2].output[1].image_url"]
    assert shown(said("user", "q"), made(), came_of([], None))[-1] == ("user", "[tool result]")


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "param", "code"),
    [
        ({}, ".type", "missing_required_parameter"),
        ({"type": "message", "content": "a"}, ".role", "missing_required_parameter"),
        (said("robot" * 200, "a"), ".role", None),
        (said("tool", "a"), ".role", None),
        ({"type": "item_reference", "id": "msg_1"}, "", "unsupported_parameter"),
        ({"id": "msg_1"}, "", "unsupported_parameter"),
        ({"type": "web_search_call", "id": "ws_1"}, ".type", "unsupported_value"),
        ({"type": "computer_call_output", "output": {"type": "x"}}, ".type", "unsupported_value"),
        ({"type": "y" * 1000}, ".type", "unsupported_value"),
        ({"type": "function_call", "call_id": "c1", "arguments": "{}"}, ".name", "missing_required_parameter"),
        (came_of(None), ".output", "missing_required_parameter"),
        (came_of({"a": 1}), ".output", None),
        (came_of([5]), ".output[0]", None),
        (said("user", [5]), ".content[0]", None),
        (said("user", [{"type": "input_file", "file_id": "f"}]), ".content[0].type", "unsupported_content"),
        (said("user", [{"type": "input_image", "file_id": "f"}]), ".content[0].file_id", "file_not_found"),
        (said("user", [{"type": "input_image"}]), ".content[0].image_url", None),
        (said("user", [{"type": "input_text", "text": 5}]), ".content[0].text", None),
        (said("assistant", [image("u")]), ".content[0]", "unsupported_content"),
    ],
)
def test_items_that_are_refused(item, param, code):
    error = refused(said("user", "a"), item)
    assert (error.param, error.code) == ("input[1]" + param, code)


def test_an_input_without_a_question():
    assert refused(input=None).code == "missing_required_parameter"
    assert refused().code == "missing_required_parameter"
    assert refused({"type": "reasoning"}).code == "missing_required_parameter"
    for items, fields in (([said("system", "a")], {}), ([{"type": "reasoning"}], {"instructions": "a"})):
        error = refused(*items, **fields)
        assert (error.param, error.code) == ("input", None)
