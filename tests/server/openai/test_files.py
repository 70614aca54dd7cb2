"""/v1/files over HTTP: uploads of every form, everything that can be wrong with one, and whose a file is."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_calls import Reply, ask, call, raw
from servers import Running, null_models, serving
from uploads import KEYS, ONE, TWO, multipart

from triptych.server.app import Options


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = Options(keys=KEYS, most_upload=3 << 20, drain=2)
    with serving(null_models(), options=options, data=tmp_path_factory.mktemp("data")) as running:
        yield running


def upload(server: Running, file: bytes | None = b"hello", key: dict[str, str] = ONE, **fields: str) -> Reply:
    filename = fields.pop("filename", "in.jsonl")
    body, headers = multipart(file, filename, **{"purpose": "batch", **fields})
    return call(server.url, "POST", "/v1/files", body, headers | key)


def get(server: Running, path: str, key: dict[str, str] = ONE, method: str = "GET") -> Reply:
    return call(server.url, method, path, None, key)


def test_a_file_is_kept_listed_read_and_deleted(server: Running) -> None:
    content = bytes(range(256)) * 8000
    file = upload(server, content, filename="näme.bin").json
    assert file | {"id": "", "created_at": 0} == {
        "id": "", "object": "file", "bytes": len(content), "created_at": 0, "expires_at": None, "filename": "näme.bin",
        "purpose": "batch", "status": "processed", "status_details": None,
    }  # fmt: skip
    assert abs(file["created_at"] - time.time()) < 60
    assert get(server, f"/v1/files/{file['id']}").json == file
    download = get(server, f"/v1/files/{file['id']}/content")
    assert download.body == content
    assert download.headers["content-length"] == str(len(content))
    assert download.headers["content-type"] == "application/octet-stream"
    assert get(server, f"/v1/files/{file['id']}/content", method="HEAD").body == b""
    assert file in get(server, "/v1/files").json["data"]
    gone = get(server, f"/v1/files/{file['id']}", method="DELETE")
    assert gone.json == {"id": file["id"], "object": "file", "deleted": True}
    for path in (f"/v1/files/{file['id']}", f"/v1/files/{file['id']}/content"):
        assert (get(server, path).status, get(server, path).error["code"]) == (404, "not_found")


def test_a_file_is_its_owners(server: Running) -> None:
    file = upload(server).json["id"]
    for method, path in (("GET", f"/v1/files/{file}"), ("GET", f"/v1/files/{file}/content"),
                         ("DELETE", f"/v1/files/{file}")):  # fmt: skip
        assert get(server, path, TWO, method).status == 404
    assert file not in str(get(server, "/v1/files", TWO).json)
    assert get(server, f"/v1/files/{file}").status == 200
    assert call(server.url, "GET", f"/v1/files/{file}").error["code"] == "invalid_api_key"


def test_lists_come_in_pages(server: Running) -> None:
    ids = [upload(server, b"x", TWO, purpose="vision").json["id"] for _ in range(5)]
    first = get(server, "/v1/files?purpose=vision&limit=2", TWO).json
    assert [file["id"] for file in first["data"]] == ids[:2:-1]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[4], ids[3], True)
    rest = get(server, f"/v1/files?purpose=vision&limit=3&after={first['last_id']}", TWO).json
    assert [file["id"] for file in rest["data"]] == ids[2::-1]
    assert rest["has_more"] is False
    upward = get(server, "/v1/files?purpose=vision&order=asc&limit=1", TWO).json
    assert upward["data"][0]["id"] == ids[0]
    assert get(server, "/v1/files?purpose=user_data", TWO).json == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip


def test_a_file_can_be_given_an_end(server: Running) -> None:
    fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = upload(server, **fields).json
    assert file["expires_at"] == file["created_at"] + 3600


@pytest.mark.parametrize(
    ("fields", "file", "param", "code"),
    [
        ({"purpose": ""}, b"x", "purpose", "missing_required_parameter"),
        ({"purpose": "fine-tune"}, b"x", "purpose", None),
        ({}, None, "file", "missing_required_parameter"),
        ({}, b"", "file", "empty_file"),
        ({"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, b"x", "expires_after.anchor", None),
        ({"expires_after[anchor]": "created_at"}, b"x", "expires_after.seconds", None),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "5"}, b"x", "expires_after.seconds", None),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "x"}, b"x", "expires_after.seconds", None),
    ],
)
def test_a_bad_upload_says_what_is_wrong(
    server: Running, fields: dict[str, str], file: bytes | None, param: str, code: str | None
) -> None:
    reply = upload(server, file, **fields)
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, param, code)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"x", "multipart/form-data", 400),
        (b"no form at all", "multipart/form-data; boundary=edge", 400),
        (b"", "multipart/form-data; boundary=edge", 400),
        (multipart(b"x" * 5000, purpose="batch")[0][:-20], "multipart/form-data; boundary=edge", 400),
        (multipart(b"x", purpose="batch")[0][:-4] + b"\r\n", "multipart/form-data; boundary=edge", 400),
        (multipart(b"x" * (4 << 20), purpose="batch")[0], "multipart/form-data; boundary=edge", 413),
    ],
    ids=["json", "no boundary", "no form", "empty", "cut short", "no last boundary", "too large"],
)
def test_a_body_that_is_no_form_is_refused(server: Running, body: bytes, content_type: str, status: int) -> None:
    reply = call(server.url, "POST", "/v1/files", body, {"content-type": content_type} | ONE)
    assert reply.status == status, reply.error
    assert len(get(server, "/v1/files?limit=10000").json["data"]) < 100


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=999999", "limit=-1", "order=up"])
def test_a_bad_list_says_what_is_wrong(server: Running, query: str) -> None:
    reply = get(server, f"/v1/files?{query}")
    assert (reply.status, reply.error["param"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize("file_id", ["file-nothing", "nothing", "file-" + "0" * 26, "file-..%2F..%2Fetc", "%00"])
def test_an_id_that_nothing_has_is_not_found(server: Running, file_id: str) -> None:
    assert get(server, f"/v1/files/{file_id}").status == 404


def test_an_upload_that_breaks_off_leaves_nothing(server: Running) -> None:
    before = get(server, "/v1/files?limit=10000").json["data"]
    head = (
        "POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key-one\r\n"
        "content-type: multipart/form-data; boundary=edge\r\ncontent-length: 100000\r\n\r\n"
    )
    peer: socket.socket = raw(server.url, head.encode() + multipart(b"x" * 500, purpose="batch")[0][:300])
    peer.close()
    time.sleep(0.1)
    assert get(server, "/v1/files?limit=10000").json["data"] == before


def test_without_a_place_for_records_there_are_no_such_routes() -> None:
    with serving(null_models()) as running:
        assert call(running.url, "GET", "/v1/files").status == 404
        assert call(running.url, "POST", "/v1/batches", {}).status == 404


def _image(file_id: Any) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"file_id": file_id}}, {"type": "text", "text": "a b"}]


def test_an_image_may_be_a_file_of_the_callers(server: Running, tmp_path: Path) -> None:
    file = upload(server, b"picture", purpose="vision").json["id"]
    reply = ask(server.url, _image(file), headers=ONE)
    assert reply.status == 200
    assert reply.json["usage"]["prompt_tokens_details"]["image_tokens"] > 0
    for headers, asked in ((TWO, file), (ONE, "file-unknown"), (ONE, 5)):
        reply = ask(server.url, _image(asked), headers=headers)
        assert reply.status == 400
        assert reply.error["param"] == "messages[0].content[0].image_url.file_id"
