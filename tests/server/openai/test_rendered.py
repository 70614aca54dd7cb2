"""Prompts that callers rendered themselves, read back into the conversation that they spell."""

import logging

import pytest
from http_calls import ask, call
from response_calls import answer, events, respond, text_of
from servers import null_models, serving

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


# ---- at every endpoint that takes conversations ---------------------------------------------------------------------

RENDERED = "USER: What is it?\nASSISTANT: a cup</s>USER: What color?\nASSISTANT:"


@pytest.fixture(scope="module")
def fifteen():
    with serving(null_models(architecture="llava")) as running:
        yield running


def test_chats_responses_and_token_counts_take_it_for_what_it_spells(fifteen):
    assert ask(fifteen.url, RENDERED).json["choices"][0]["message"]["content"] == "What color?"
    assert answer(respond(fifteen.url, RENDERED))["output"][0]["content"][0]["text"] == "What color?"
    assert text_of(events(respond(fifteen.url, RENDERED, stream=True))) == "What color?"
    assert answer(respond(fifteen.url, RENDERED, truncation="auto"))["output"][0]["content"][0]["text"] == "What color?"
    assert respond(fifteen.url, RENDERED, path="/v1/responses/input_tokens").json["input_tokens"] == 2
    body = {"model": "eye", "messages": [{"role": "user", "content": RENDERED}]}
    assert call(fifteen.url, "POST", "/v1/tokenize", body).json["count"] == 2


def test_images_stay_with_their_question_in_a_response(fifteen):
    image = {"type": "input_image", "image_url": "a picture", "detail": "low"}
    parts = [image, {"type": "input_text", "text": "USER: <image>\nWhat is it?\nASSISTANT:"}]
    told = answer(respond(fifteen.url, [{"role": "user", "content": parts}]))
    assert told["output"][0]["content"][0]["text"] == "What is it?"
    assert told["usage"]["input_tokens_details"]["image_tokens"] == 4


def test_the_log_says_it_once_for_each_model(caplog):
    with caplog.at_level(logging.INFO, "triptych.server"), serving(null_models(architecture="llava")) as server:
        for _ in range(3):
            ask(server.url, RENDERED)
            ask(server.url, "What color?")
            respond(server.url, RENDERED)
        ask(server.url, RENDERED, "text")
    told = [record.getMessage() for record in caplog.records if "rendered already" in record.getMessage()]
    assert [line.partition(":")[0] for line in told] == ["eye", "text"]
    assert "What is it" not in "".join(told)
