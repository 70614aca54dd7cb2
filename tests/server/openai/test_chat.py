"""Chat completions over HTTP, before a replica that repeats what it is told."""

import re
import time

import pytest
from http_calls import ask, call
from servers import null_models, serving

from triptych.server.dialects.openai.wire import ChatRequest

PATH = "/v1/chat/completions"


def messages(text: object = "a b c") -> list[dict]:
    return [{"role": "user", "content": text}]


def image(url: str = "a picture") -> dict:
    return {"type": "image_url", "image_url": {"url": url}}


# ---- whole ----------------------------------------------------------------------------------------------------------


def test_every_key_of_an_answer(server):
    before = int(time.time())
    reply = ask(server.url, [{"type": "text", "text": "a b"}, image()], "llava", {"x-request-id": "mine"})
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"] == "mine"
    assert reply.headers["openai-version"] == "2020-10-01"
    assert reply.headers["openai-processing-ms"].isdigit()
    answer = reply.json
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{24}", answer.pop("id"))
    assert before <= answer.pop("created") <= time.time()
    assert answer == {
        "object": "chat.completion",
        "model": "eye",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "a b", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
        }],
        "usage": {
            "prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0, "image_tokens": 10, "text_tokens": 2},
            "completion_tokens_details": {
                "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "system_fingerprint": "fp_null",
        "service_tier": None,
    }  # fmt: skip


def test_null_for_every_optional_field_and_unknown_ones(server):
    nulls = {field: None for field in ChatRequest.__struct_fields__ if field not in ("messages", "model")}
    unknown = {"user": "u", "metadata": {}, "store": True, "service_tier": "auto", "reasoning_effort": "low",
               "verbosity": "low", "prediction": {"x": 1}, "modalities": ["text"], "enable_thinking": False,
               "chat_template_kwargs": {"a": 1}, "include": [], "whatever": [1, {"a": None}]}  # fmt: skip
    for fields in (nulls, unknown):
        reply = ask(server.url, **fields)
        assert (reply.status, reply.json["choices"][0]["message"]["content"]) == (200, "a b c")
    parts = messages([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}])
    parts[0] |= {"name": None, "tool_calls": None, "tool_call_id": None, "weight": 1}
    assert call(server.url, "POST", PATH, {"model": "eye", "messages": parts}).status == 200


def test_choices_are_in_order_and_a_limit_ends_them(server):
    answer = ask(server.url, n=3, max_tokens=2, temperature=0).json
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in answer["choices"]} == {"a b"}
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}
    assert answer["usage"]["completion_tokens"] == 6
    assert answer["usage"]["prompt_tokens"] == 3


def test_logprobs(server):
    content = ask(server.url, "a b", logprobs=True, top_logprobs=1).json["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in content] == ["a", " b"]
    assert all(list(entry) == ["token", "logprob", "bytes", "top_logprobs"] for entry in content)


def test_extensions_for_token_ids(server):
    answer = ask(server.url, return_token_ids=True).json
    assert answer["prompt_token_ids"] == [0, 1, 2]
    assert answer["choices"][0]["token_ids"] == [0, 1, 2]
    first, *others = ask(server.url, return_token_ids=True, stream=True).chunks
    assert first["prompt_token_ids"] == [0, 1, 2]
    assert not any("prompt_token_ids" in chunk for chunk in others)
    assert [token for chunk in others for token in chunk["choices"][0].get("token_ids", [])] == [0, 1, 2]


def test_a_continued_answer_is_repeated_if_asked(server):
    begun = [*messages("q"), {"role": "assistant", "content": [{"type": "text", "text": "one two"}]}]
    body = {"model": "eye", "messages": begun, "continue_final_message": True}
    for echo, text in ((False, "one two"), (True, "one twoone two")):
        answer = call(server.url, "POST", PATH, {**body, "echo": echo}).json
        assert answer["choices"][0]["message"]["content"] == text
        chunks = call(server.url, "POST", PATH, {**body, "echo": echo, "stream": True}).chunks
        assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == text


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": []}, "messages", "missing_required_parameter"),
        ({"messages": "hi"}, "messages", None),
        ({"messages": [{"content": "x"}]}, "messages[0]", None),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", None),
        ({"temperature": "hot"}, "temperature", None),
        ({"temperature": 3}, "temperature", None),
        ({"max_tokens": 0}, "max_tokens", None),
        ({"max_tokens": 1.5}, "max_tokens", None),
        ({"seed": 1 << 70}, "seed", None),
        ({"n": 1000}, "n", None),
        ({"stop": ["a", None]}, "stop[1]", None),
        ({"top_logprobs": 2}, "top_logprobs", None),
        ({"audio": {"voice": "x"}}, "modalities", "unsupported_parameter"),
        ({"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter"),
        ({"web_search_options": {}}, "web_search_options", "unsupported_parameter"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message", None),
        ({"add_generation_prompt": False}, "add_generation_prompt", "unsupported_parameter"),
        ({"use_beam_search": True}, "use_beam_search", "unsupported_parameter"),
        ({"tool_choice": "required"}, "tool_choice", None),
        ({"response_format": {"type": "xml"}}, "response_format.type", "unsupported_value"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs", "unsupported_parameter"),
    ],
)
def test_wrong_fields(server, fields, param, code):
    for stream in (False, True):
        reply = ask(server.url, **{"stream": stream, **fields})
        assert reply.status == 400
        assert (reply.error["type"], reply.error["param"], reply.error["code"]) == (
            "invalid_request_error", param, code,
        )  # fmt: skip


def test_images_that_cannot_be_shown():
    async def fetch(url: str) -> bytes:
        if url == "bug":
            raise KeyError("secret")
        return url.encode()

    with serving(null_models(), fetch) as server:
        parts = [{"type": "text", "text": "broken"}, image("x")]
        reply = ask(server.url, parts)
        assert (reply.status, reply.error["code"]) == (400, "image_parse_error")
        assert reply.error["param"] == "messages[0].content[1].image_url.url"
        reply = ask(server.url, parts, "text")
        assert (reply.status, reply.error["code"]) == (400, "unsupported_content")
        assert reply.error["param"] == "messages[0].content[1].image_url.url"
        assert "text" in reply.error["message"]
        assert "eye" in reply.error["message"]
        reply = ask(server.url, [image()] * 65)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "too_many_images", "messages")
        reply = ask(server.url, [image("bug")])
        assert (reply.status, reply.error["code"]) == (500, "internal_error")
        assert "secret" not in reply.error["message"]


def test_a_prompt_that_does_not_fit_has_the_phrases_that_clients_look_for():
    with serving(null_models(max_context=5)) as server:
        for stream in (False, True):
            reply = ask(server.url, "a b c d e f", stream=stream)
            error = reply.error
            assert (reply.status, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
            text = error["message"].lower()
            assert "this model's maximum context length is 5 tokens" in text
            assert "6 tokens" in text
            assert "prompt is too long" in text
            assert "context_length_exceeded" in text


def test_what_is_wrong_with_a_request_is_told_without_starting_a_model():
    with serving(null_models(load_seconds=60)) as server:
        for fields in ({"temperature": 3}, {"response_format": {"type": "x"}}, {"tool_choice": "required"}):
            assert ask(server.url, **fields).status == 400
        assert ask(server.url, [image()] * 65).status == 400
        assert [model.state for model in server.router.models] == ["stopped", "stopped"]
