"""Every refusal has OpenAI's form, its status and its code, whoever finds it."""

import pytest
from http_calls import call, raw
from servers import null_models, serving

from triptych.engine import errors
from triptych.replica.client import ReplicaLostError
from triptych.server.app import Options
from triptych.server.dialects.openai.errors import from_error
from triptych.server.generation import ModelUnavailableError, UnknownModelError

CHAT = "/v1/chat/completions"
GOOD = {"model": "eye", "messages": [{"role": "user", "content": "hi"}]}


# ---- our errors in OpenAI's words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        (UnknownModelError("x"), 404, "model_not_found", "model"),
        (ModelUnavailableError("x"), 503, "model_loading", None),
        (ReplicaLostError("x"), 503, "model_loading", None),
        (errors.QueueFullError("x"), 429, "overloaded", None),
        (errors.EngineStoppedError("x"), 503, "shutting_down", None),
        (errors.PromptError("x"), 400, None, "messages"),
        (errors.ParameterError("x", "top_k"), 400, None, "top_k"),
        (errors.ParameterError("x"), 400, None, None),
        (errors.ConstraintError("x"), 400, "invalid_json_schema", "response_format"),
        (errors.CheckpointError("x"), 503, "model_not_loaded", "model"),
        (errors.MemoryBudgetError("x"), 503, "model_not_loaded", "model"),
        (errors.InternalError("x"), 500, "internal_error", None),
        (errors.ModelOutputError("x"), 500, "internal_error", None),
        (KeyError("secret"), 500, "internal_error", None),
        (errors.ImageError("images[1]: the image is truncated"), 400, "image_parse_error", "two"),
        (errors.ImageError("images[0]: this is not an image"), 400, "invalid_image_format", "one"),
        (errors.ImageError("images[0]: the file is empty"), 400, "empty_image_file", "one"),
        (errors.ImageError("images[0]: 9 bytes are over the limit of 5"), 400, "image_file_too_large", "one"),
        (errors.ImageError("images[7]: too many pixels"), 400, "image_too_large", None),
    ],
)
def test_each_kind(error, status, code, param):
    told = from_error(error, ["one", "two"])
    assert (told.status, told.code, told.param) == (status, code, param)
    assert list(told.body()["error"]) == ["message", "type", "param", "code"]
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    assert told.type == kind
    assert ("retry-after" in told.headers) == (status in (429, 503))
    assert "secret" not in told.message
    assert "images[" not in told.message


def test_how_long_to_wait_is_whole_seconds():
    assert from_error(ModelUnavailableError("x", 7.4), []).headers["retry-after"] == "7"
    assert from_error(ModelUnavailableError("x", 0.01), []).headers["retry-after"] == "1"
    assert from_error(ModelUnavailableError("x", 1e9), []).headers["retry-after"] == "60"


# ---- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b'{"model": "\xff"}', b'{"model": "\\ud800"}', b"{}x",
        b'{"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", b'{"model": NaN}',
    ],
)  # fmt: skip
def test_bodies_that_are_no_request(server, body):
    for path in (CHAT, "/v1/completions", "/tokenize", "/detokenize"):
        reply = call(server.url, "POST", path, body)
        assert reply.status == 400
        assert reply.error["type"] == "invalid_request_error"
        assert len(reply.body) < 1000


def test_no_long_value_comes_back(server):
    long = "x" * 100_000
    for fields in (
        {"model": long}, {"messages": [{"role": long}]}, {"tools": [{"function": {"name": "a"}}], "tool_choice": long},
        {"response_format": {"type": long}}, {"logit_bias": {long: 1}}, {"temperature": long},
        {"structured_outputs": {long: 1}}, {"messages": [{"role": "user", "content": [{"type": long}]}]},
    ):  # fmt: skip
        reply = call(server.url, "POST", CHAT, {**GOOD, **fields})
        assert reply.status in (400, 404)
        assert len(reply.body) < 1000


def test_a_body_over_the_limit():
    with serving(null_models(), options=Options(drain=5, most_body=1000)) as server:
        for path in (CHAT, "/v1/completions", "/tokenize"):
            reply = call(server.url, "POST", path, b"x" * 1001)
            assert (reply.status, reply.error["code"]) == (413, "request_too_large")
        chunk = b"258\r\n" + b"x" * 600 + b"\r\n"
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        with raw(server.url, head + b"transfer-encoding: chunked\r\n\r\n" + chunk * 2) as peer:
            assert peer.recv(1000).startswith(b"HTTP/1.1 413")


def test_other_content_types(server):
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        reply = call(server.url, "POST", CHAT, GOOD, {"content-type": kind})
        assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        assert call(server.url, "POST", CHAT, GOOD, {"content-type": kind}).status == 200


def test_the_accept_header_means_nothing(server):
    for accept in ("application/json", "text/event-stream", "image/png"):
        assert call(server.url, "POST", CHAT, {**GOOD, "stream": True}, {"accept": accept}).status == 200


def test_expect_continue_is_answered_at_once(server):
    body = b'{"model": "eye", "messages": [{"role": "user", "content": "hi"}]}'
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    with raw(server.url, head.encode() + b"expect: 100-continue\r\nconnection: close\r\n\r\n") as peer:
        assert peer.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(body)
        assert peer.recv(1000).startswith(b"HTTP/1.1 200")


# ---- paths and methods ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/v1", "/openai/v1"])
def test_every_prefix_with_and_without_a_slash_at_the_end(server, prefix):
    for slash in ("", "/"):
        assert call(server.url, "POST", f"{prefix}/chat/completions{slash}", GOOD).status == 200
        assert call(server.url, "POST", f"{prefix}/completions{slash}", {"model": "eye", "prompt": "x"}).status == 200
        assert call(server.url, "GET", f"{prefix}/models{slash}").status == 200


def test_unknown_paths(server):
    for path in ("/v1/nothing", "/v2/models", "/v1/chat", "/v1/chat/completions/x", "/%00", "/v1/assistants"):
        reply = call(server.url, "GET", path)
        assert (reply.status, reply.error["code"], reply.error["type"]) == (404, "not_found", "invalid_request_error")
    for family in ("moderations", "images/generations", "audio/speech", "threads", "fine_tuning/jobs"):
        reply = call(server.url, "POST", f"/v1/{family}", {})
        assert reply.status == 404
        assert "not provided by this server" in reply.error["message"]


def test_wrong_methods(server):
    for method, path in (("GET", CHAT), ("POST", "/v1/models"), ("DELETE", "/v1/models/eye"), ("PUT", "/tokenize")):
        reply = call(server.url, method, path)
        assert (reply.status, reply.error["code"]) == (405, "method_not_allowed")
        assert reply.headers["allow"]


def test_head(server):
    whole = call(server.url, "GET", "/v1/models")
    head = call(server.url, "HEAD", "/v1/models")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


# ---- request ids ----------------------------------------------------------------------------------------------------


def test_the_request_id_is_on_every_answer(server):
    sent = {"x-request-id": "mine"}
    for reply in (
        call(server.url, "GET", "/v1/models", headers=sent),
        call(server.url, "POST", CHAT, GOOD, sent),
        call(server.url, "POST", CHAT, {**GOOD, "stream": True}, sent),
        call(server.url, "POST", CHAT, {}, sent),
        call(server.url, "POST", CHAT, GOOD, {**sent, "content-type": "text/plain"}),
    ):
        assert reply.headers["x-request-id"] == "mine"
    assert call(server.url, "GET", "/v1/models").headers["x-request-id"].startswith("req_")


# ---- keys -----------------------------------------------------------------------------------------------------------


def test_keys():
    with serving(null_models(), options=Options(drain=5, keys=("one", "two"))) as server:
        routes = (("POST", CHAT), ("POST", "/v1/completions"), ("GET", "/v1/models"), ("GET", "/v1/models/eye"),
                  ("POST", "/tokenize"), ("POST", "/detokenize"), ("GET", "/tokenizer_info"))  # fmt: skip
        for method, path in routes:
            for token in (None, "Bearer three", "Basic one", "Bearer ", "Bearer ö", "one"):
                given = {} if token is None else {"authorization": token.encode("latin-1")}
                reply = call(server.url, method, path, None, given)
                assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
                assert reply.headers["www-authenticate"] == "Bearer"
                assert reply.headers["x-request-id"]
        for token in ("Bearer one", "bearer two", "BEARER  one "):
            assert call(server.url, "GET", "/v1/models", headers={"authorization": token}).status == 200
        for path in ("/health", "/version"):
            assert call(server.url, "GET", path).status == 200


def test_without_keys_any_is_taken(server):
    for token in ("Bearer x", "Basic y", ""):
        assert call(server.url, "GET", "/v1/models", headers={"authorization": token}).status == 200
