"""Prompts that callers rendered themselves, read back into the conversation that they spell."""

import pytest

from triptych.replica.protocol import ModelInfo
from triptych.server.dialects.openai.rendered import read_back

IMAGE = {"type": "image"}


def info(architecture: str = "llava") -> ModelInfo:
    return ModelInfo("m", architecture, "fp32", "cpu", 4096, True, 1000, 4096, 1000)


def text(said: str) -> dict:
    return {"type": "text", "text": said}


def read(*parts: object, architecture: str = "llava") -> list[tuple[str, object]]:
    content = parts[0] if len(parts) == 1 and isinstance(parts[0], str) else list(parts)
    messages = read_back([{"role": "user", "content": content}], info(architecture))
    return [(message["role"], message["content"]) for message in messages]


@pytest.mark.parametrize(
    "parts",
    [
        (text("USER: "), IMAGE, text("What is it?\nASSISTANT:")),  # the text had a marker for it
        (IMAGE, text("USER: \nWhat is it?\nASSISTANT:")),
        (IMAGE, text("USER:What is it? ASSISTANT: ")),
        (IMAGE, text("  USER: What is it?"), text("ASSISTANT:")),
    ],
)
def test_a_question_about_a_picture(parts):
    assert read(*parts) == [("user", [IMAGE, text("What is it?")])]


def test_a_question_without_a_picture():
    assert read("USER: What is it?\nASSISTANT:") == [("user", "What is it?")]
    assert read("USER: What does ASSISTANT mean?\nASSISTANT:") == [("user", "What does ASSISTANT mean?")]


def test_images_stay_where_they_stand():
    found = read(IMAGE, text("USER: left "), IMAGE, text(" right\n"), IMAGE, text("ASSISTANT:"))
    assert found == [("user", [IMAGE, text("left"), IMAGE, text("right"), IMAGE])]


@pytest.mark.parametrize("end", ["\n", " ", "</s>", "</s>\n", " </s> "])
def test_several_turns(end):
    found = read(text("USER: "), IMAGE, text(f"What is it?\nASSISTANT: A dog.{end}USER: What color?\nASSISTANT:"))
    assert found == [
        ("user", [IMAGE, text("What is it?")]), ("assistant", "A dog."), ("user", "What color?"),
    ]  # fmt: skip


def test_an_image_in_a_later_question():
    found = read(text("USER: hi\nASSISTANT: hello\nUSER: "), IMAGE, text("What is it?\nASSISTANT:"))
    assert found == [("user", "hi"), ("assistant", "hello"), ("user", [IMAGE, text("What is it?")])]


@pytest.mark.parametrize(
    "parts",
    [
        ("What is it?",), ("USER: What is it?",), ("What is it? ASSISTANT:",), ("XUSER: What is it? ASSISTANT:",),
        ("USER: a USER: b ASSISTANT:",), ("USER: a ASSISTANT: b ASSISTANT:",), (IMAGE,), ("",),
        (text("USER: a ASSISTANT:"), IMAGE, text("USER: b ASSISTANT:")),
    ],
)
def test_what_is_no_such_prompt_stays(parts):
    content = parts[0] if isinstance(parts[0], str) else list(parts)
    assert read(*parts) == [("user", content)]


def test_other_models_and_conversations_stay():
    asked = "USER: What is it?\nASSISTANT:"
    for architecture in ("llava_next", "mixtral", ""):
        assert read(asked, architecture=architecture) == [("user", asked)]
    for messages in ([{"role": "system", "content": "x"}, {"role": "user", "content": asked}],
                     [{"role": "user", "content": asked}, {"role": "assistant", "content": "a dog"}]):  # fmt: skip
        assert read_back(messages, info()) == messages
