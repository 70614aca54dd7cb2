"""/v1/batches over HTTP: the objects that clients read, and everything that can be wrong with a request."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Reply, ask, call
from servers import Running, null_models, serving
from uploads import KEYS, ONE, TWO, multipart

from triptych.server.app import Options

LINES = [
    {
        "custom_id": f"a{number}", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "eye", "messages": [{"role": "user", "content": f"word{number} b"}]},
    }
    for number in range(6)
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = Options(keys=KEYS, drain=2)
    with serving(null_models(), options=options, data=tmp_path_factory.mktemp("data")) as running:
        yield running


def upload(server: Running, lines: list[Any], purpose: str = "batch") -> str:
    body, headers = multipart(b"\n".join(json.dumps(line).encode() for line in lines), purpose=purpose)
    return str(call(server.url, "POST", "/v1/files", body, headers | ONE).json["id"])


def create(server: Running, file: Any, key: dict[str, str] = ONE, **fields: Any) -> Reply:
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", **fields}
    return call(server.url, "POST", "/v1/batches", body, key)


def get(server: Running, path: str, key: dict[str, str] = ONE) -> Reply:
    return call(server.url, "GET", path, None, key)


def ended(server: Running, batch: str) -> Any:
    deadline = time.monotonic() + 20
    while (found := get(server, f"/v1/batches/{batch}").json)["status"] not in ("completed", "failed", "cancelled"):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def content(server: Running, file: str) -> list[Any]:
    return [json.loads(line) for line in get(server, f"/v1/files/{file}/content").body.splitlines()]


def test_a_batch_from_its_creation_to_its_files(server: Running) -> None:
    wrong = [
        {**LINES[0], "custom_id": "unknown", "body": {**LINES[0]["body"], "model": "nobody"}},
        {**LINES[0], "custom_id": "streamed", "body": {**LINES[0]["body"], "stream": True}},
        {**LINES[0], "custom_id": "wrong", "body": {"model": "eye", "messages": "no list"}},
    ]
    file = upload(server, LINES + wrong)
    created = create(server, file, metadata={"for": "tests"}).json
    assert created["status"] == "validating"
    assert created["expires_at"] == created["created_at"] + 24 * 3600
    assert (created["usage"], created["errors"], created["model"]) == (None, None, None)
    batch = ended(server, created["id"])
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 9, "completed": 6, "failed": 3}
    assert batch["usage"] == {
        "input_tokens": 12, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 24,
    }  # fmt: skip
    assert (batch["model"], batch["metadata"], batch["endpoint"]) == ("eye", {"for": "tests"}, "/v1/chat/completions")
    assert batch["created_at"] <= batch["in_progress_at"] <= batch["finalizing_at"] <= batch["completed_at"]
    good = {line["custom_id"]: line["response"] for line in content(server, batch["output_file_id"])}
    assert {key: each["body"]["choices"][0]["message"]["content"] for key, each in good.items()} == {
        f"a{number}": f"word{number} b" for number in range(6)
    }
    errors = {line["custom_id"]: line["response"] for line in content(server, batch["error_file_id"])}
    assert {key: (each["status_code"], each["body"]["error"]["param"]) for key, each in errors.items()} == {
        "unknown": (404, "model"), "streamed": (400, "stream"), "wrong": (400, "messages"),
    }  # fmt: skip
    assert batch in get(server, "/v1/batches").json["data"]
    assert batch["id"] not in str(get(server, "/v1/batches", TWO).json)
    assert get(server, f"/v1/batches/{batch['id']}", TWO).status == 404


@pytest.mark.parametrize(
    ("endpoint", "body", "text"),
    [
        ("/v1/completions", {"model": "eye", "prompt": "a b"}, lambda body: body["choices"][0]["text"]),
        ("/v1/responses", {"model": "eye", "input": "a b"}, lambda body: body["output"][0]["content"][0]["text"]),
    ],
)
def test_other_endpoints_take_batches_too(server: Running, endpoint: str, body: Any, text: Any) -> None:
    file = upload(server, [{"custom_id": "one", "method": "POST", "url": endpoint, "body": body}])
    batch = ended(server, create(server, file, endpoint=endpoint).json["id"])
    [line] = content(server, batch["output_file_id"])
    assert text(line["response"]["body"]).strip() == "a b"
    assert batch["error_file_id"] is None
    assert batch["usage"]["input_tokens"] == 2


def test_a_file_with_a_bad_line_fails_the_batch(server: Running) -> None:
    file = upload(server, [LINES[0], {**LINES[1], "url": "/v1/embeddings"}])
    batch = ended(server, create(server, file).json["id"])
    assert batch["status"] == "failed"
    assert batch["errors"]["object"] == "list"
    [problem] = batch["errors"]["data"]
    assert (problem["code"], problem["line"], problem["param"]) == ("mismatched_endpoint", 2, "url")


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"input_file_id": "file-unknown"}, 404, "input_file_id"),
        ({"input_file_id": 5}, 400, "input_file_id"),
        ({"endpoint": None}, 400, "endpoint"),
        ({"endpoint": "/v1/embeddings"}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"metadata": {"a": 1}}, 400, "metadata[]"),
        ({"metadata": {str(n): "" for n in range(17)}}, 400, "metadata"),
        ({"metadata": {"a": "x" * 513}}, 400, "metadata"),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, 400, "output_expires_after.anchor"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, 400, "output_expires_after.seconds"),
    ],
)
def test_a_bad_request_says_what_is_wrong(server: Running, fields: Any, status: int, param: str) -> None:
    reply = create(server, upload(server, LINES[:1]), **fields)
    assert (reply.status, reply.error["param"]) == (status, param)


def test_only_a_file_of_ones_own_for_batches_is_taken(server: Running) -> None:
    assert create(server, upload(server, LINES[:1]), TWO).status == 404
    reply = create(server, upload(server, LINES[:1], purpose="user_data"))
    assert (reply.status, reply.error["param"]) == (400, "input_file_id")


def test_output_files_can_be_given_an_end(server: Running) -> None:
    expires = {"anchor": "created_at", "seconds": 7200}
    batch = ended(server, create(server, upload(server, LINES[:1]), output_expires_after=expires).json["id"])
    file = get(server, f"/v1/files/{batch['output_file_id']}").json
    assert file["expires_at"] == file["created_at"] + 7200
    assert file["purpose"] == "batch_output"


def test_a_batch_that_is_over_cannot_be_cancelled(server: Running) -> None:
    batch = ended(server, create(server, upload(server, LINES[:1])).json["id"])
    reply = call(server.url, "POST", f"/v1/batches/{batch['id']}/cancel", b"", ONE)
    assert (reply.status, reply.error["code"]) == (400, "batch_not_cancellable")
    assert call(server.url, "POST", "/v1/batches/batch_none/cancel", b"", ONE).status == 404


def test_lists_come_in_pages(server: Running) -> None:
    ids = [create(server, upload(server, LINES[:1])).json["id"] for _ in range(3)]
    page = get(server, "/v1/batches?limit=2").json
    assert [batch["id"] for batch in page["data"]] == ids[:0:-1]
    assert page["has_more"] is True
    assert get(server, f"/v1/batches?limit=1&after={ids[1]}").json["data"][0]["id"] == ids[0]
    assert get(server, "/v1/batches?limit=101").error["param"] == "limit"
    for batch in ids:
        ended(server, batch)


def test_what_somebody_waits_for_goes_before_a_batch(tmp_path: Path) -> None:
    """A null replica that answers in the order it was asked would not show it: the priority it gets is looked at."""
    with serving(null_models(), data=tmp_path) as running:
        seen: list[int] = []
        model = running.router.find("eye")
        begin = model.begin
        model.begin = lambda generation: (seen.append(generation.priority), begin(generation))[1]  # type: ignore[method-assign]
        body, headers = multipart(json.dumps(LINES[0]).encode(), purpose="batch")
        file = call(running.url, "POST", "/v1/files", body, headers).json["id"]
        request = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = call(running.url, "POST", "/v1/batches", request).json["id"]
        deadline = time.monotonic() + 20
        while call(running.url, "GET", f"/v1/batches/{batch}").json["status"] != "completed":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert ask(running.url).status == 200
        assert seen[0] > 1 << 32
        assert seen[1] == 0


def test_a_batch_goes_on_after_a_restart(tmp_path: Path) -> None:
    slow = null_models(delay=0.3)
    with serving(slow, data=tmp_path, options=Options(drain=0.1)) as running:
        body, headers = multipart(b"\n".join(json.dumps(line).encode() for line in LINES * 1), purpose="batch")
        file = call(running.url, "POST", "/v1/files", body, headers).json["id"]
        request = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = call(running.url, "POST", "/v1/batches", request).json["id"]
    with serving(null_models(), data=tmp_path) as running:
        deadline = time.monotonic() + 20
        while (found := call(running.url, "GET", f"/v1/batches/{batch}").json)["status"] != "completed":
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        assert found["request_counts"] == {"total": 6, "completed": 6, "failed": 0}
