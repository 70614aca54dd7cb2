"""What is answered about routes rather than by them: OPTIONS, HEAD, wrong methods, and browsers' questions (CORS)."""

from __future__ import annotations

import pytest
from http_calls import ask, call
from servers import null_models, serving

from triptych.server.app import Options

PAGE = {"origin": "https://page.example"}
ASKED = "authorization,content-type,x-stainless-lang,x-stainless-retry-count,x-request-id"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(null_models(), data=tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def shared():
    options = Options(drain=1, keys=("secret",), cors_origins=("https://page.example",))
    with serving(null_models(), options=options) as running:
        yield running


def allowed(reply):
    return set(reply.headers["allow"].split(", "))


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/chat/completions", {"POST"}),
        ("/v1/models", {"GET", "HEAD", "POST", "QUERY"}),
        ("/v1/models/", {"GET", "HEAD", "POST", "QUERY"}),
        ("/openai/v1/models", {"GET", "HEAD"}),
        ("/openai/v1/models/org/eye", {"GET", "HEAD"}),
        ("/v1/files", {"GET", "HEAD", "POST"}),
        ("/v1/files/x", {"GET", "HEAD", "DELETE"}),
        ("/v1/responses/input_tokens", {"POST"}),
        ("/v1/responses/x", {"GET", "HEAD", "DELETE"}),
        ("/triptych/v1/models/org/eye/stop", {"POST"}),
        ("/health", {"GET", "HEAD"}),
        ("/", {"GET", "HEAD", "POST"}),
    ],
)
def test_a_path_tells_what_it_takes(server, path, methods):
    reply = call(server.url, "OPTIONS", path)
    assert (reply.status, reply.body) == (204, b"")
    assert allowed(reply) == {*methods, "OPTIONS"}
    assert reply.headers["x-request-id"]
    assert "access-control-allow-origin" not in reply.headers
    wrong = call(server.url, "PATCH", path)
    assert (wrong.status, wrong.error["code"]) == (405, "method_not_allowed")
    assert allowed(wrong) == allowed(reply)


def test_a_path_that_is_not_there(server):
    assert call(server.url, "OPTIONS", "/v1/nothing").status == 404


def test_options_needs_no_key(shared):
    assert call(shared.url, "POST", "/v1/chat/completions", {}).status == 401
    assert call(shared.url, "OPTIONS", "/v1/chat/completions").status == 204


def test_head_is_get_without_a_body(server):
    for path in ("/v1/models", "/health", "/metrics", "/version", "/triptych/v1/models", "/v1/files", "/v1/batches"):
        reply = call(server.url, "HEAD", path)
        assert (reply.status, reply.body) == (200, b""), path


# ---- browsers -------------------------------------------------------------------------------------------------------


def test_a_preflight_names_the_headers_that_clients_send(shared):
    asks = {"access-control-request-method": "POST", "access-control-request-headers": ASKED}
    reply = call(shared.url, "OPTIONS", "/v1/chat/completions", headers={**PAGE, **asks})
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == "https://page.example"
    assert "POST" in reply.headers["access-control-allow-methods"]
    # A literal * covers all headers but authorization.
    assert {name.strip() for name in reply.headers["access-control-allow-headers"].split(",")} == set(ASKED.split(","))
    other = call(shared.url, "OPTIONS", "/v1/chat/completions", headers={"origin": "https://other.example", **asks})
    assert other.status == 400
    assert "access-control-allow-origin" not in other.headers


def test_a_script_may_read_what_clients_look_for(shared):
    for reply in (
        ask(shared.url, headers={**PAGE, "authorization": "Bearer secret"}),
        ask(shared.url, headers={**PAGE, "authorization": "Bearer secret"}, stream=True),
        ask(shared.url, headers=PAGE),
        call(shared.url, "GET", "/nothing", headers=PAGE),
    ):
        assert reply.headers["access-control-allow-origin"] == "https://page.example"
        exposed = set(reply.headers["access-control-expose-headers"].split(", "))
        assert exposed >= {"x-request-id", "retry-after", "retry-after-ms", "x-ratelimit-remaining-tokens"}
    assert "access-control-allow-origin" not in ask(shared.url, headers={"origin": "https://other.example"}).headers


def test_any_origin():
    with serving(null_models(), options=Options(drain=1, cors_origins=("*",))) as server:
        asks = {"access-control-request-method": "DELETE", "access-control-request-headers": "Authorization"}
        reply = call(server.url, "OPTIONS", "/v1/models", headers={**PAGE, **asks})
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["access-control-allow-headers"] == "Authorization"
        assert call(server.url, "OPTIONS", "/v1/models", headers=PAGE).status == 204


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain", ""])
@pytest.mark.parametrize(
    ("path", "status"),
    [("/triptych/v1/models/eye/start", 200), ("/triptych/v1/models/eye/stop", 200), ("/v1/batches/x/cancel", 404),
     ("/v1/responses/resp_1/cancel", 404)],
)  # fmt: skip
def test_an_order_without_a_body_may_have_any_content_type(server, path, status, kind):
    assert call(server.url, "POST", path, b"", {"content-type": kind}).status == status
    assert call(server.url, "POST", path, None, {"content-type": kind}).status == status


def test_a_body_of_another_type_is_refused_there_as_everywhere(server):
    kind = {"content-type": "application/octet-stream"}
    assert call(server.url, "POST", "/triptych/v1/models/eye/stop", b"x", kind).status == 415
    chunked = {**kind, "transfer-encoding": "chunked"}
    assert call(server.url, "POST", "/triptych/v1/models/eye/stop", b"0\r\n\r\n", chunked).status == 415
    assert call(server.url, "POST", "/v1/chat/completions", b"", kind).status == 415
