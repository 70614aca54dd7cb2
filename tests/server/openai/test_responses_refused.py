"""Responses that are refused: with which status, code and path, whoever finds it."""

import pytest
from http_calls import call
from response_calls import PATH, respond
from servers import null_models, serving

ADD = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}


def user(*parts: object) -> list[dict]:
    return [{"role": "user", "content": list(parts)}]


def text(said: str) -> dict:
    return {"type": "input_text", "text": said}


def image(url: str = "a picture") -> dict:
    return {"type": "input_image", "image_url": url, "detail": "auto"}



@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": []}, "input", "missing_required_parameter"),
        ({"input": 5}, "input", None),
        ({"input": ["hi"]}, "input[0]", None),
        ({"model": "gpt-x"}, "model", "model_not_found"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"conversation": {"id": "conv_1"}}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"truncation": "middle"}, "truncation", None),
        ({"temperature": 3}, "temperature", None),
        ({"top_p": 2}, "top_p", None),
        ({"max_output_tokens": 0}, "max_output_tokens", None),
        ({"max_output_tokens": 1.5}, "max_output_tokens", None),
        ({"top_logprobs": 21}, "top_logprobs", None),
        ({"top_logprobs": -1}, "top_logprobs", None),
        ({"metadata": {"a": 1}}, "metadata[]", None),
        ({"include": "everything"}, "include", None),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"messages": [{"role": "user", "content": "x"}]}, "messages", "unsupported_parameter"),
        ({"max_tokens": 5}, "max_tokens", "unsupported_parameter"),
        ({"max_completion_tokens": 5}, "max_completion_tokens", "unsupported_parameter"),
        ({"response_format": {"type": "text"}}, "response_format", "unsupported_parameter"),
        ({"functions": [{"name": "add"}]}, "functions", "unsupported_parameter"),
        ({"prompt_logprobs": 1}, "prompt_logprobs", "unsupported_parameter"),
        ({"return_token_ids": True}, "return_token_ids", "unsupported_parameter"),
        ({"use_beam_search": True}, "use_beam_search", "unsupported_parameter"),
        ({"moderation": {"policy": {"mode": "block"}}}, "moderation", "unsupported_parameter"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "unsupported_value"),
        ({"text": {"format": {"type": "json_schema", "schema": "x"}}}, "text.format.schema", None),
        ({"text": {"format": {"type": "json_object"}}, "guided_regex": "a"}, "text.format", None),
        ({"tool_choice": "required"}, "tool_choice", None),
        ({"tools": [ADD], "tool_choice": "sometimes"}, "tool_choice", None),
        ({"tools": [ADD], "tool_choice": {"type": "function", "name": "sub"}}, "tool_choice", None),
        ({"tools": [ADD], "tool_choice": {"type": "web_search_preview"}}, "tool_choice", None),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_parameter"),
        ({"tools": [ADD, {"type": "custom", "name": "x"}]}, "tools[1].type", "unsupported_parameter"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", None),
        ({"tools": [{"type": "function", "function": {"name": "add"}}]}, "tools[0].name", None),
        ({"tools": [{**ADD, "parameters": []}]}, "tools[0].parameters", None),
    ],
)  # fmt: skip
def test_wrong_fields(server, fields, param, code):
    for stream in (False, True):
        reply = respond(server.url, **{"stream": stream, **fields})
        assert reply.status == (404 if code == "model_not_found" else 400)
        error = reply.error
        assert (error["type"], error["code"]) == ("invalid_request_error", code)
        assert error["param"] == param
        assert len(error["message"]) < 300


def test_a_schema_that_is_nested_too_deeply(server):
    schema: dict = {}
    for _ in range(100):
        schema = {"type": "object", "properties": {"a": schema}}
    for fields, param in (
        ({"text": {"format": {"type": "json_schema", "schema": schema}}}, "text.format.schema"),
        ({"tools": [{**ADD, "parameters": schema}]}, "tools[0].parameters"),
    ):
        error = respond(server.url, **fields).error
        assert (error["param"], error["code"]) == (param, "invalid_json_schema")
        assert error["message"].startswith("Invalid schema for response_format")


def test_images_that_cannot_be_shown():
    async def fetch(url: str) -> bytes:
        if url == "bug":
            raise KeyError("secret")
        return url.encode()

    with serving(null_models(), fetch) as server:
        parts = user(text("broken"), image("x"))
        reply = respond(server.url, parts)
        assert (reply.status, reply.error["code"]) == (400, "image_parse_error")
        assert reply.error["param"] == "input[0].content[1].image_url"
        reply = respond(server.url, parts, "text")
        assert (reply.status, reply.error["code"]) == (400, "unsupported_content")
        assert reply.error["param"] == "input[0].content[1].image_url"
        reply = respond(server.url, user(*[image()] * 65))
        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "too_many_images", "input")
        reply = respond(server.url, user(image("bug")))
        assert (reply.status, reply.error["code"]) == (500, "internal_error")
        assert "secret" not in reply.error["message"]


def test_an_input_that_does_not_fit_has_the_phrases_that_clients_look_for():
    with serving(null_models(max_context=5)) as server:
        for stream in (False, True):
            error = respond(server.url, "a b c d e f", stream=stream).error
            assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
            for phrase in ("maximum context length is 5 tokens", "prompt is too long", "[context_length_exceeded]"):
                assert phrase in error["message"]


def test_what_is_wrong_with_a_request_is_told_without_starting_a_model():
    with serving(null_models(load_seconds=60)) as server:
        for fields in ({"temperature": 3}, {"background": True}, {"tool_choice": "required"}, {"input": [{"id": "x"}]}):
            assert respond(server.url, **fields).status == 400
        assert [model.state for model in server.router.models] == ["stopped", "stopped"]


@pytest.mark.parametrize("path", [PATH, PATH + "/input_tokens"])
@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b"\xff", b'{"input": NaN}', b'{"input": ' + b"[" * 50_000])
def test_bodies_that_are_no_request(server, path, body):
    reply = call(server.url, "POST", path, body)
    assert (reply.status, reply.error["type"]) == (400, "invalid_request_error")
    assert len(reply.body) < 1000


def test_no_long_value_comes_back(server):
    long = "x" * 100_000
    for fields in (
        {"model": long}, {"input": [{"role": long}]}, {"input": [{"type": long}]}, {"truncation": long},
        {"text": {"format": {"type": long}}}, {"tools": [{"type": long}]}, {"tools": [ADD], "tool_choice": long},
        {"input": user({"type": long})}, {"previous_response_id": long},
    ):  # fmt: skip
        reply = respond(server.url, **fields)
        assert reply.status in (400, 404)
        assert len(reply.body) < 1000
