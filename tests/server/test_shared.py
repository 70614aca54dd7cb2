"""Paths that two dialects have: whose a request is, and that both are answered on one port under /v1."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from http_calls import call
from predicting import Client
from servers import Running, null_models, serving

from triptych.server.shared import _first_part, meant

REPLICATE = "0" * 26
OPENAI = f"file-{REPLICATE}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(null_models(), data=tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "headers", "whose"),
    [
        ("/v1/models", {}, "openai"),
        ("/v1/models", {"user-agent": "OpenAI/Python 2.9.0"}, "openai"),
        ("/v1/models", {"authorization": "Bearer x"}, "openai"),
        ("/v1/models", {"authorization": "Token x"}, "replicate"),
        ("/v1/models", {"prefer": "wait=5"}, "replicate"),
        ("/v1/models", {"user-agent": "replicate-python/1.0.7"}, "replicate"),
        ("/v1/models", {"user-agent": "AsyncReplicate/Python 2.0.0-beta.4"}, "replicate"),
        ("/v1/models", {"user-agent": "_ModuleClient/Python 2.0.0-beta.4"}, "replicate"),
        ("/models", {"user-agent": "_ModuleClient/Python 2.0.0"}, "replicate"),
        ("/v1/models", {"user-agent": "_ModuleClient/Python 3.52.0"}, "openai"),
        ("/v1/models", {"user-agent": "replicate-javascript/1.4.0"}, "replicate"),
        ("/v1/models", {"user-agent": "runtime/node.js ai-sdk/replicate/2.0.57"}, "replicate"),
        ("/replicate/v1/models", {}, "replicate"),
        ("/openai/v1/models", {"user-agent": "replicate-python/1.0.7"}, "openai"),
        ("/v1/predictions/x", {}, "replicate"),
        ("/predictions", {}, "replicate"),
        ("/v1/v1/account", {}, "replicate"),
        ("/v1/chat/completions", {}, "openai"),
        (f"/v1/files/{OPENAI}", {"user-agent": "replicate-python/1.0.7"}, "openai"),
        (f"/v1/files/{OPENAI}/content", {}, "openai"),
        (f"/v1/files/{REPLICATE}", {}, "replicate"),
        ("/v1/files", {}, "openai"),
        ("/", {}, "openai"),
    ],
)
def test_whose_a_request_is(path: str, headers: dict[str, str], whose: str) -> None:
    assert meant(path, headers) == whose


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'--x\r\nContent-Disposition: form-data; name="content"; filename="a"\r\n\r\n', "content"),
        (b'--x\r\ncontent-type: a/b\r\ncontent-disposition: form-data; filename="b"; name="file"\r\n\r\n', "file"),
        (b"--x\r\nContent-Disposition: form-data; name=purpose\r\n\r\n", "purpose"),
        (b"", ""), (b"--x\r\n", ""), (b"y" * 9000 + b'content-disposition: form-data; name="content"', ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_the_first_part_of_a_form_is_looked_at_and_nothing_is_lost(body: bytes, name: str, size: int) -> None:
    pieces = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    messages = [
        {"type": "http.request", "body": piece, "more_body": number + 1 < len(pieces)}
        for number, piece in enumerate(pieces)
    ]
    waiting = list(messages)

    async def receive():
        return waiting.pop(0)

    found, again = await _first_part(receive)
    assert found == name
    assert [await again() for _ in messages] == messages


def test_both_are_answered_on_one_port(server: Running) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    answer = client.chat.completions.create(model="eye", messages=[{"role": "user", "content": "one two"}])
    assert answer.choices[0].message.content == "one two"
    assert [model.id for model in client.models.list()] == ["eye", "text"]
    assert client.models.retrieve("org/eye").id == "eye"
    file = client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    assert client.files.retrieve(file.id).filename == "a.jsonl"
    replicate = Client(server, {"user-agent": "replicate-python/1.0.7"})
    assert replicate.run("one two")["output"] == ["one", " two"]
    assert len(replicate.ask("GET", "/models").json["results"]) == 3
    assert replicate.ask("GET", "/models/org/eye").json["owner"] == "org"
    body = b'--x\r\nContent-Disposition: form-data; name="content"; filename="a"\r\n\r\nhello\r\n--x--\r\n'
    for headers in ({}, replicate.key):
        sent = {**headers, "content-type": "multipart/form-data; boundary=x"}
        told = call(server.url, "POST", "/v1/files", body, sent)
        assert (told.status, told.json["name"]) == (201, "a")
        path = f"/v1/files/{told.json['id']}"
        assert call(server.url, "GET", path, None, headers).json == told.json
        assert call(server.url, "DELETE", path, None, headers).status == 204
    assert call(server.url, "GET", "/v1/files", None, replicate.key).json["results"] == []
    assert client.files.delete(file.id).deleted


def test_what_is_not_there_is_told_in_the_callers_dialect(server: Running) -> None:
    replicate = {"user-agent": "replicate-javascript/1.4.0"}
    assert call(server.url, "GET", "/v1/models/nobody/x", None, replicate).json["status"] == 404
    assert call(server.url, "GET", "/v1/models/nobody/x").error["code"] == "model_not_found"
    assert call(server.url, "GET", "/v1/nothing", None, replicate).json["status"] == 404
    assert call(server.url, "GET", "/v1/nothing").error["code"] == "not_found"


def test_nothing_is_redirected(server: Running) -> None:
    for path in ("/v1/predictions/", "/v1/models/", "/replicate/v1/", "/replicate", "/v1", "//v1/predictions"):
        assert call(server.url, "GET", path).status // 100 != 3
