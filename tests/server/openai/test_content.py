"""Messages as clients send them, in the engine's form."""

import json

import msgspec
import pytest

from triptych.server.dialects.openai.content import Content, read_messages
from triptych.server.dialects.openai.errors import OpenAIError
from triptych.server.dialects.openai.wire import Message

IMAGE = {"type": "image"}


def read(*messages: dict, interleave: bool = False, continued: bool = False) -> Content:
    return read_messages(msgspec.convert(list(messages), list[Message]), interleave=interleave, continued=continued)


def said(role: str, content: object = None, **more: object) -> dict:
    return {"role": role, "content": content, **more}


def user(*parts: object) -> dict:
    return said("user", list(parts))


def text(said: str) -> dict:
    return {"type": "text", "text": said}


def image(url: str) -> dict:
    return {"type": "image_url", "image_url": {"url": url}}


def refused(*messages: dict, **options: bool) -> OpenAIError:
    with pytest.raises(OpenAIError) as error:
        read(*messages, **options)
    assert error.value.status == 400
    return error.value


def shown(*messages: dict, **options: bool) -> list[tuple[str, object]]:
    return [(message["role"], message["content"]) for message in read(*messages, **options).messages]


# ---- roles ----------------------------------------------------------------------------------------------------------


def test_plain_messages_pass():
    messages = [said("system", "be brief"), said("user", "hi"), said("assistant", "hello"), said("user", "who?")]
    assert read(*messages).messages == messages
    assert shown(said("user", "hi", name="anna")) == [("user", "hi")]


@pytest.mark.parametrize("messages", [None, []])
def test_no_messages(messages):
    with pytest.raises(OpenAIError) as error:
        read_messages(messages, interleave=False, continued=False)
    assert (error.value.param, error.value.code) == ("messages", "missing_required_parameter")


def test_an_unknown_role_is_named_but_not_at_length():
    error = refused(said("user", "a"), said("x" * 1000, "b"))
    assert error.param == "messages[1].role"
    assert len(error.message) < 300


def test_developers_are_the_system_and_several_system_messages_are_one():
    assert shown(said("developer", "a"), said("system", ""), said("system", "b"), said("user", "c")) == [
        ("system", "a\n\nb"), ("user", "c"),
    ]  # fmt: skip


def test_a_later_system_message_is_the_users():
    assert shown(said("system", "a"), said("user", "b"), said("system", "c")) == [("system", "a"), ("user", "b\nc")]


def test_runs_of_one_role_are_one_message():
    assert shown(
        said("user", "a"), said("user", "b\n"), said("assistant", "c"), said("assistant", "d"), said("user", "e")
    ) == [("user", "a\nb\n"), ("assistant", "c\nd"), ("user", "e")]


def test_a_leading_assistant_message_gets_a_question_before_it():
    assert shown(said("system", "s"), said("assistant", "a"), said("user", "b")) == [
        ("system", "s"), ("user", ""), ("assistant", "a"), ("user", "b"),
    ]  # fmt: skip
    assert shown(said("system", "s")) == [("system", "s"), ("user", "")]


def test_null_content_is_empty():
    assert shown(said("user")) == [("user", "")]
    assert shown(said("user", "a"), said("assistant"), said("user", [])) == [
        ("user", "a"), ("assistant", ""), ("user", ""),
    ]  # fmt: skip


def test_a_final_answer_is_history_unless_it_is_continued():
    messages = said("user", "a"), said("assistant", "b")
    assert shown(*messages) == [("user", "a"), ("assistant", "b"), ("user", "")]
    assert shown(*messages, continued=True) == [("user", "a"), ("assistant", "b")]
    assert refused(said("user", "a"), continued=True).param == "continue_final_message"


def test_tool_results_are_the_users_and_calls_are_the_text_that_made_them():
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    assert shown(
        said("user", "q"),
        said("assistant", None, tool_calls=[call]),
        said("tool", "3", tool_call_id="c1"),
        said("function", "4", name="add"),
        said("tool", None),
    ) == [
        ("user", "q"),
        ("assistant", '{"name": "add", "arguments": {"a": 1}}'),
        ("user", "[tool result c1] 3\n[tool result add] 4\n[tool result]"),
    ]


def test_several_calls_are_a_list_as_the_constraint_makes_them():
    calls = [{"function": {"name": "f", "arguments": arguments}} for arguments in ("", "{broken", None)]
    [_, (_, called), _] = shown(said("user", "q"), said("assistant", "Well:", tool_calls=calls))
    first, _, second = called.partition("\n")
    assert first == "Well:"
    assert [call["arguments"] for call in json.loads(second)] == [{}, "{broken", {}]


@pytest.mark.parametrize("call", [{}, {"function": "f"}, {"function": {"name": None}}])
def test_a_call_without_a_name(call):
    assert refused(said("user", "q"), said("assistant", None, tool_calls=[call])).param == "messages[1].tool_calls"


# ---- parts ----------------------------------------------------------------------------------------------------------


def test_all_spellings_of_texts():
    parts = [
        text("a"), {"type": "input_text", "text": "b"}, {"type": "output_text", "text": "c"}, {"text": "d"}, "e",
        {"type": "text", "text": None}, {"type": "refusal", "refusal": "f"},
        {"type": "text", "text": "g", "prompt_cache_breakpoint": {"type": "ephemeral"}},
    ]  # fmt: skip
    # The user's parts stay parts, for templates that take them; other roles have one text.
    assert shown(user(*parts)) == [("user", [text(letter) for letter in "abcdefg"])]
    assert shown(said("system", parts), said("user", "x"))[0] == ("system", "a\nb\nc\nd\ne\nf\ng")
    assert shown(user(text("only"))) == [("user", "only")]


def test_all_spellings_of_images_and_the_paths_that_errors_name():
    spellings = [
        ({"type": "image_url", "image_url": {"url": "u", "detail": "low"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": "u", "uuid": "7"}, ".image_url"),
        ({"image_url": {"url": "u"}}, ".image_url.url"),
        ({"type": "input_image", "image_url": "u", "detail": "original"}, ".image_url"),
        ({"type": "image", "image": "u"}, ".image"),
        ({"type": "image", "url": "u"}, ".url"),
        ({"type": "image", "image_url": None, "image": {"url": "u"}}, ".image.url"),
    ]
    for part, path in spellings:
        content = read(user(text("what?"), part))
        assert content.messages == [{"role": "user", "content": [IMAGE, text("what?")]}]
        assert (content.urls, content.params) == (["u"], ["messages[0].content[1]" + path])


def test_details_as_they_were_written():
    parts = [
        ({"type": "image_url", "image_url": {"url": "u", "detail": "low"}}, "low"),
        ({"type": "input_image", "image_url": "u", "detail": "original"}, "original"),
        ({"type": "image_url", "image_url": {"url": "u", "detail": "high"}, "detail": "low"}, "high"),
        ({"type": "image_url", "image_url": {"url": "u"}, "detail": "low"}, "low"),
        ({"type": "image", "image": "u"}, "auto"),
        ({"type": "image", "image": "u", "detail": 7}, "auto"),
        ({"type": "input_image", "file_id": "file-" + "0" * 32, "detail": "low"}, "low"),
        ({"type": "file", "file": {"file_id": "file-" + "0" * 32, "detail": "low"}}, "low"),
    ]
    assert read(user(*[part for part, _ in parts])).details == [word for _, word in parts]
    turns = [user(parts[0][0], text("a")), said("assistant", "b"), user(parts[1][0])]
    assert read(*turns).details == ["low", "original"]
    marked = read(user(text("first <image> then"), parts[0][0], parts[1][0]))
    assert marked.details == ["original", "low"]  # the marker is the first image's place, the other goes to the head


@pytest.mark.parametrize(
    ("part", "param", "code"),
    [
        (1, "", None),
        ({}, ".type", "unsupported_content"),
        ({"type": "input_audio", "input_audio": {}}, ".type", "unsupported_content"),
        ({"type": "file", "file": {}}, ".file.file_id", "file_not_found"),
        ({"type": {"a": "b" * 1000}}, ".type", "unsupported_content"),
        ({"type": "text", "text": 5}, ".text", None),
        ({"type": "image_url"}, ".image_url", None),
        ({"type": "image_url", "image_url": {}}, ".image_url.url", None),
        ({"type": "image_url", "image_url": {"url": 5}}, ".image_url.url", None),
        ({"type": "image_url", "image_url": ""}, ".image_url", None),
        ({"type": "input_image", "file_id": "x-1"}, ".file_id", "file_not_found"),
    ],
)
def test_parts_that_are_refused(part, param, code):
    error = refused(said("user", "a"), user(text("x"), part))
    assert (error.param, error.code) == ("messages[1].content[1]" + param, code)
    assert len(error.message) < 300


def test_images_may_stand_in_user_and_tool_messages_only():
    for role in ("system", "developer", "assistant"):
        error = refused(said("user", "q"), said(role, [image("u")]))
        assert (error.param, error.code) == ("messages[1].content[0]", "unsupported_content")
    content = read(said("user", "q"), said("tool", [text("it is"), image("u")], tool_call_id="c1"))
    assert content.messages == [{"role": "user", "content": [text("q\n"), IMAGE, text("[tool result c1] it is")]}]


# ---- places of images -----------------------------------------------------------------------------------------------


def places(*parts: object, interleave: bool = False) -> tuple[object, list[str]]:
    content = read(user(*parts), interleave=interleave)
    return content.messages[0]["content"], content.urls


def test_images_go_before_the_text_in_order_unless_they_are_interleaved():
    parts = text("a"), image("1"), text("b"), image("2")
    assert places(*parts) == ([IMAGE, IMAGE, text("a"), text("b")], ["1", "2"])
    assert places(*parts, interleave=True) == ([text("a"), IMAGE, text("b"), IMAGE], ["1", "2"])
    assert places(image("1")) == ([IMAGE], ["1"])


def test_each_image_stays_in_its_own_message():
    content = read(user(text("a"), image("1")), said("assistant", "b"), user(text("c"), image("2"), image("3")))
    assert [message["content"] for message in content.messages] == [
        [IMAGE, text("a")], "b", [IMAGE, IMAGE, text("c")],
    ]  # fmt: skip
    assert content.urls == ["1", "2", "3"]
    merged = read(user(text("a"), image("1")), user(text("c"), image("2")))
    assert merged.messages[0]["content"] == [IMAGE, text("a\n"), IMAGE, text("c")]


@pytest.mark.parametrize(
    ("parts", "placed", "urls"),
    [
        ((text("left <image> right <image>\nend"), image("1"), image("2")),
         [text("left "), IMAGE, text(" right "), IMAGE, text("end")], "12"),
        ((text("<image>\nwhat?"), image("1"), image("2")), [IMAGE, IMAGE, text("what?")], "21"),
        ((text("<image><image>"), image("1"), image("2")), [IMAGE, IMAGE], "12"),
        ((image("1"), text("a <image> b <image> c")), [text("a "), IMAGE, text(" b <image> c")], "1"),
        ((text("a <image>"), image("1"), text("b <image> c"), image("2"), image("3")),
         [IMAGE, text("a "), IMAGE, text("b "), IMAGE, text(" c")], "312"),
    ],
)  # fmt: skip
def test_markers_in_the_text_are_the_places_of_the_first_images(parts, placed, urls):
    assert places(*parts) == (placed, list(urls))


def test_markers_without_images_are_text():
    assert places(text("a <image> b")) == ("a <image> b", [])
    content = read(user(text("<image>")), said("assistant", "b"), user(image("1"), text("c")))
    assert content.messages[0]["content"] == "<image>"
    assert places(text("<image>"), image("1"), interleave=True) == ([text("<image>"), IMAGE], ["1"])
