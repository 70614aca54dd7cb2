"""Files and images: uploads as each client writes them, and every way an image reaches a prediction."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from http_calls import Reply, call
from PIL import Image
from predicting import TIME, Client, problem
from servers import null_models, serving
from uploads import ONE, TWO

from triptych.engine.errors import TriptychError
from triptych.server.dialects.replicate import files as routes

MOUNT = "/replicate/v1"


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(stream, "PNG")
    return stream.getvalue()


Part = tuple[str, str, str, bytes]


def upload(client: Client, *parts: Part, path: str = "/files") -> Reply:
    """A form of parts: name, filename ("" for a field), type, content."""
    body = b""
    for name, filename, kind, content in parts:
        head = f'--edge\r\nContent-Disposition: form-data; name="{name}"'
        head += f'; filename="{filename}"' if filename else ""
        head += f"\r\nContent-Type: {kind}" if kind else ""
        body += head.encode() + b"\r\n\r\n" + content + b"\r\n"
    body += b"--edge--\r\n"
    return client.ask("POST", path, body, content_type="multipart/form-data; boundary=edge")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server that reads data URIs, says no to what is broken, and fetches everything else as it is called."""
    fetched: list[str] = []

    async def fetch(source: str) -> bytes:
        fetched.append(source)
        if not source.startswith("data:"):
            return source.encode()
        try:
            return base64.b64decode(source.partition(",")[2], validate=True)
        except ValueError:
            raise TriptychError("the base64 of the image is damaged") from None

    with serving(null_models(), fetch, data=tmp_path_factory.mktemp("data")) as running:
        found = Client(running, {}, MOUNT)
        found.fetched = fetched  # type: ignore[attr-defined]
        yield found


# ---- files ----------------------------------------------------------------------------------------------------------

AS_PY1 = (("content", "boats.png", "image/png", png()), ("metadata", "", "", b'{"album": "x"}'))
AS_PY2 = (
    ("content", "upload", "application/octet-stream", png()), ("metadata[album]", "", "", b"x"),
    ("filename", "", "", b"boats.png"), ("type", "", "", b"image/png"),
)  # fmt: skip
AS_JS = (("content", "boats.png", "image/png", png()), ("metadata", "blob", "application/json", b'{"album": "x"}'))
AS_BUFFER = (("metadata", "", "", b'{"album": "x"}'), ("content", "boats.png", "application/octet-stream", png()))


@pytest.mark.parametrize("parts", [AS_PY1, AS_PY2, AS_JS, AS_BUFFER], ids=["py1", "py2", "js", "buffer"])
def test_an_upload_as_each_client_writes_it(client: Client, parts: tuple[Part, ...]) -> None:
    reply = upload(client, *parts)
    told = reply.json
    assert reply.status == 201
    assert (told["name"], told["content_type"], told["size"]) == ("boats.png", "image/png", len(png()))
    assert told["metadata"] == {"album": "x"}
    md5 = hashlib.md5(png()).hexdigest()
    assert told["checksums"] == {"sha256": hashlib.sha256(png()).hexdigest(), "md5": md5}
    assert told["etag"] == md5
    assert re.fullmatch("[0-9a-z]{26}", told["id"])
    assert re.fullmatch(TIME, told["created_at"])
    assert told["expires_at"][:10] > told["created_at"][:10]
    assert told["urls"]["get"] == f"{client.server.url}{MOUNT}/files/{told['id']}"
    assert client.ask("GET", told["urls"]["get"]).json == told


def test_files_are_listed_in_pages_downloaded_and_deleted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_PAGE", 2)
    made = [upload(client, ("content", f"{number}.txt", "text/plain", b"text")).json for number in range(3)][::-1]
    first = client.ask("GET", "/files").json
    assert first["results"] == made[:2]
    rest = client.ask("GET", first["next"]).json
    assert rest["results"][0] == made[2]
    assert client.ask("GET", rest["previous"]).json["results"] == made[:2]
    gone = client.ask("DELETE", f"/files/{made[0]['id']}", b"")
    assert (gone.status, gone.body) == (204, b"")
    assert problem(client.ask("GET", f"/files/{made[0]['id']}"))["status"] == 404
    assert problem(client.ask("DELETE", f"/files/{made[0]['id']}"))["status"] == 404


def test_a_download_needs_the_signature_and_no_key(one: Client, two: Client) -> None:
    told = upload(Client(one.server, ONE, MOUNT), ("content", "a.html", "text/html", b"<script>")).json
    url = told["urls"]["download"]
    reply = call(one.server.url, "GET", url.removeprefix(one.server.url))
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"<script>", "text/html")
    assert reply.headers["content-disposition"] == "attachment"
    assert reply.headers["x-content-type-options"] == "nosniff"
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    other = upload(Client(two.server, TWO, MOUNT), ("content", "b", "text/plain", b"b")).json["id"]
    for query, file in (
        ({**asked, "signature": "x"}, told["id"]), ({**asked, "expiry": str(int(asked["expiry"]) + 1)}, told["id"]),
        ({**asked, "owner": "you"}, told["id"]), ({}, told["id"]), (asked, other),
        ({**asked, "expiry": "é"}, told["id"]),
    ):  # fmt: skip
        wrong = call(one.server.url, "GET", f"{MOUNT}/files/{file}/download?{urlencode(query)}", None, ONE)
        assert problem(wrong)["status"] == 404


def test_files_are_their_owners(one: Client, two: Client) -> None:
    mine, theirs = Client(one.server, ONE, MOUNT), Client(two.server, TWO, MOUNT)
    told = upload(mine, ("content", "a", "text/plain", b"a")).json
    for method in ("GET", "DELETE"):
        assert problem(theirs.ask(method, f"/files/{told['id']}"))["status"] == 404
    assert told["id"] not in str(theirs.ask("GET", "/files").json)
    assert mine.ask("GET", f"/files/{told['id']}").status == 200


@pytest.mark.parametrize(
    ("parts", "status", "told"),
    [
        ((("metadata", "", "", b"{}"),), 422, "content is required"),
        ((("content", "a", "text/plain", b"a"), ("metadata", "", "", b"[]")), 422, "metadata must be a JSON object"),
        ((("content", "a", "text/plain", b"a"), ("metadata", "", "", b"{")), 422, "metadata must be a JSON object"),
        ((("content", "a", "text/plain", b"a"), ("type", "", "", b"a\xc3\xa9")), 422, "type must be a media type"),
        ((("content", "a", "text/plain", b"a" * (4 << 20)),), 413, "over the limit"),
    ],
)  # fmt: skip
def test_a_bad_upload_says_what_is_wrong(one: Client, parts: tuple[Part, ...], status: int, told: str) -> None:
    reply = upload(Client(one.server, ONE, MOUNT), *parts)
    assert problem(reply)["status"] == status
    assert told in reply.json["detail"]


def test_bodies_that_are_no_form(client: Client) -> None:
    assert problem(client.ask("POST", "/files", {}))["status"] == 415
    broken = client.ask("POST", "/files", b"--edge\r\n", content_type="multipart/form-data; boundary=edge")
    assert problem(broken)["status"] == 400


# ---- images ---------------------------------------------------------------------------------------------------------


def sources(client: Client) -> list[str]:
    found: list[str] = client.fetched  # type: ignore[attr-defined]
    made, found[:] = list(found), []
    return made


def test_an_image_in_the_request_becomes_a_file(client: Client) -> None:
    sources(client)
    sent = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    told = client.run("a b", image=sent)
    assert told["metrics"]["image_token_count"] == 10
    assert sources(client) == [sent]  # read once, when it came
    url = told["input"]["image"]
    file = client.ask("GET", url).json
    assert (file["content_type"], file["size"], file["name"]) == ("image/png", len(png()), "image.png")
    again = client.run("a b", image=url)
    assert (again["input"]["image"], again["metrics"]["image_token_count"]) == (url, 10)
    assert sources(client) == []


def test_an_image_that_was_uploaded_is_read_here_under_any_name_of_the_server(client: Client) -> None:
    sources(client)
    file = upload(client, ("content", "buffer_1", "application/octet-stream", png())).json
    path = f"/files/{file['id']}"
    for url in (
        file["urls"]["get"], f"https://gpu.local:8080/v1{path}", f"http://other/v1/v1{path}/", f"http://other{path}",
        f"http://other/replicate{path}", file["urls"]["download"], f"http://x/openai/v1/files/file-{file['id']}/content",
    ):  # fmt: skip
        told = client.run("a b", image=url)
        assert (told["status"], told["metrics"]["image_token_count"]) == ("succeeded", 10)
        assert told["input"]["image"] == url
    assert sources(client) == []


def test_other_urls_are_fetched_when_it_runs(client: Client) -> None:
    sources(client)
    foreign = f"http://images.example/v1/files/{'0' * 26}"
    for url in ("https://images.example/boats.png", foreign):
        assert client.run("a b", image=url)["metrics"]["image_token_count"] == 10
    assert sources(client) == ["https://images.example/boats.png", foreign]
    gone = client.run("a", image=f"{client.server.url}/v1/files/{'0' * 26}")
    assert gone["status"] == "failed"
    assert "no file with this id" in gone["error"]


def test_an_image_of_another_key_is_not_read(one: Client, two: Client) -> None:
    file = upload(Client(one.server, ONE, MOUNT), ("content", "a.png", "image/png", png())).json
    told = two.run("a", image=file["urls"]["get"].replace(MOUNT, "/v1"))
    assert told["status"] == "failed"
    assert one.run("a", image=file["urls"]["get"])["status"] == "succeeded"


def test_an_image_that_cannot_be_read_fails_the_prediction(client: Client) -> None:
    damaged = "data:image/png;base64," + "%" * 500
    reply = client.create("a", image=damaged, wait=5)
    told = reply.json
    assert (reply.status, told["status"]) == (201, "failed")
    assert told["error"] == "image: the base64 of the image is damaged"
    assert len(told["input"]["image"]) < 100
    broken = client.run("broken", image="https://images.example/broken.png")
    assert broken["status"] == "failed"
    assert "truncated or damaged" in broken["error"]


def test_an_image_for_a_model_that_does_not_see_is_ignored_and_not_kept_whole(client: Client) -> None:
    told = client.run("a", version="triptych/text", image=f"data:image/png;base64,{'A' * 4000}")
    assert told["status"] == "succeeded"
    assert "ignored: image" in told["logs"]
    assert len(json.dumps(told["input"])) < 200


def test_the_row_of_a_prediction_stays_small(client: Client, tmp_path: Path) -> None:
    sent = f"data:image/png;base64,{base64.b64encode(png() * 2000).decode()}"
    told: dict[str, Any] = client.run("a", image=sent)
    assert len(json.dumps(client.get(told))) < 2000
