"""Whose fault it is, told by status and body."""

import json
import time
from email.utils import formatdate

import pytest

from triptych.engine.errors import (
    ConstraintError,
    ContextOverflowError,
    ImageError,
    ParameterError,
    PromptError,
)
from triptych.server.generation import UpstreamError, UpstreamUnavailableError
from triptych.server.upstream.failure import error_of, told_by

KEY = "sk-very-secret-key"
IMAGES = ("messages[0].content[0]", "messages[0].content[2]")


def heard(status, body=None, headers=None, images=IMAGES):
    data = body if isinstance(body, bytes) else json.dumps({"error": body}).encode()
    told = told_by(status, headers or {}, data, KEY)
    return error_of(told, "here", images), told


def objection(message="no", **more):
    return {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (400, objection("bad seed.", param="seed"), ParameterError, "bad seed"),
        (422, objection("bad seed", param="seed"), ParameterError, "bad seed"),
        (413, objection("too much"), PromptError, "too much"),
        (400, objection("x", code="context_length_exceeded"), ContextOverflowError, "x"),
        (400, objection("x", code=400, type="exceed_context_size_error"), ContextOverflowError, "x"),
        (400, objection("x", code="invalid_json_schema"), ConstraintError, "x"),
        (400, objection("bad picture", param="messages[0].content[2].image_url.url"), ImageError,
         "images[1]: bad picture"),
        (400, objection("bad picture", code="invalid_image_format"), ImageError, "bad picture"),
        (401, objection(f"Incorrect key {KEY[:9]}***"), UpstreamError, "refused this server's key (401)"),
        (403, objection("no"), UpstreamError, "refused this server's key (403)"),
        (404, objection("The model `there` does not exist."), UpstreamError,
         "does not have the model: The model `there` does not exist"),
        (402, objection("pay"), UpstreamError, "refused the request (402): pay"),
        (302, b"", UpstreamError, "redirects elsewhere (302), which is not followed"),
        (408, objection("late"), UpstreamUnavailableError, "cannot answer now (408): late"),
        (409, objection("later"), UpstreamUnavailableError, "cannot answer now (409): later"),
        (429, objection("slow down"), UpstreamUnavailableError, "cannot answer now (429): slow down"),
        (500, objection("died"), UpstreamUnavailableError, "cannot answer now (500): died"),
        (502, b"<html><body>Bad Gateway</body></html>", UpstreamUnavailableError, "cannot answer now (502)"),
        (400, b"<html>", ParameterError, "refused the request (400) without a reason"),
    ],
)  # fmt: skip
def test_whose_fault_it_is(status, body, kind, text):
    error, told = heard(status, body)
    assert type(error) is kind
    assert text in str(error)
    assert "<" not in str(error)
    assert KEY[:9] not in str(error)
    assert told.passing is (kind is UpstreamUnavailableError)


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "the request exceeds the available context size (4096 tokens), try increasing it",
        "Input length (5000 tokens) exceeds the maximum allowed length (4096 tokens).",
    ],
)
def test_an_overflow_is_known_in_the_words_of_each_server(message):
    assert type(heard(400, objection(message))[0]) is ContextOverflowError


@pytest.mark.parametrize(
    "body",
    [
        b'{"object": "error", "message": "bad top_p", "type": "BadRequestError", "param": null, "code": 400}',
        b'{"error": "bad top_p"}', b'{"detail": "bad top_p"}', b'{"message": "bad top_p"}', b'"bad top_p"',
    ],
)  # fmt: skip
def test_errors_in_all_forms(body):
    assert str(heard(400, body)[0]) == "bad top_p"


def test_fastapis_details_are_shown():
    error, _ = heard(422, b'{"detail": [{"loc": ["body", "n"], "msg": "not a number"}]}')
    assert "not a number" in str(error)


def test_a_path_of_what_was_sent_is_not_the_callers():
    assert heard(400, objection("x", param="top_p"))[0].name == "top_p"
    assert heard(400, objection("x", param="messages[3].role"))[0].name == ""


def test_the_key_never_comes_back_and_no_text_is_endless():
    error, _ = heard(400, objection(f"key {KEY}\n is {'long ' * 1000}"))
    assert KEY not in str(error)
    assert "key (key hidden) is long" in str(error)
    assert len(str(error)) < 1100


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7), ("0.5", 1, 1), ("1000", 60, 60), ("soon", 5, 5), (None, 5, 5), ("-3", 1, 1), ("date", 25, 31),
    ],
)  # fmt: skip
def test_when_to_come_back(header, least, most):
    header = formatdate(time.time() + 30, usegmt=True) if header == "date" else header
    error, _ = heard(503, objection(), {"retry-after": header} if header else {})
    assert least <= error.retry_after <= most


def test_an_upstream_may_forbid_to_ask_again():
    assert heard(503, objection(), {"x-should-retry": "false"})[1].passing is False
    assert heard(503, objection(), {"x-should-retry": "true"})[1].passing is True
