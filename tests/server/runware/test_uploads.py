"""Images that are uploaded once, and used by UUID or URL until they are deleted or expire; and what is searched for."""

from __future__ import annotations

import uuid
from functools import partial

import pytest
from http_calls import call
from runware_calls import BASE64, PNG, URI, caption, connected, hosting, new_uuid, only_error, png, post
from uploads import KEYS

from triptych.server.store import files as statements
from triptych.server.store.ids import now_us


def upload(server, image=URI, key=None, **fields):
    task = {"taskType": "imageUpload", "taskUUID": new_uuid(), "image": image, **fields}
    reply = post(server.url, [task], key)
    assert reply.status == 200, reply.body
    [item] = reply.json["data"]
    assert list(item) == ["taskType", "taskUUID", "imageUUID", "imageURL"]
    assert item["taskUUID"] == task["taskUUID"]
    return item


def by(server, image, key=None):
    return post(server.url, [caption(inputs={"image": image})], key)


@pytest.mark.parametrize("image", [URI, BASE64, "url"])
def test_an_upload_is_used_by_its_uuid_and_its_url(server, image):
    with hosting({"/x.png": (200, PNG)}) as (url, _):
        item = upload(server, f"{url}/x.png" if image == "url" else image)
    assert str(uuid.UUID(item["imageUUID"])) == item["imageUUID"]
    assert item["imageURL"] == f"{server.url}/v1/media/{item['imageUUID']}.png"
    for used in (item["imageUUID"], item["imageUUID"].upper(), item["imageURL"]):
        assert by(server, used).json["data"][0]["text"] == "a b c"
    assert upload(server, item["imageUUID"])["imageUUID"] == item["imageUUID"]


def test_the_bytes_are_for_who_has_the_url(keyed):
    item = upload(keyed, URI.replace("image/png", "text/html"), KEYS[0])
    reply = call(keyed.url, "GET", item["imageURL"].removeprefix(keyed.url))
    assert (reply.status, reply.headers["content-type"], reply.body) == (200, "image/png", PNG)
    assert reply.headers["x-content-type-options"] == "nosniff"
    for name in (f"{new_uuid()}.png", "x", "..%2f..%2fetc%2fpasswd"):
        missing = call(keyed.url, "GET", f"/v1/media/{name}")
        assert (missing.status, missing.json["errors"][0]["code"]) == (404, "notFound")


def test_another_key_does_not_have_it(keyed):
    item = upload(keyed, key=KEYS[0])
    assert by(keyed, item["imageUUID"], KEYS[0]).status == 200
    assert only_error(by(keyed, item["imageUUID"], KEYS[1]))["code"] == "invalidInputImage"
    delete = {"taskType": "mediaStorage", "taskUUID": new_uuid(), "operation": "delete", "media": item["imageUUID"]}
    assert post(keyed.url, [delete], KEYS[1]).status == 404
    assert by(keyed, item["imageUUID"], KEYS[0]).status == 200


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "missingImage"), ({"image": ""}, "missingImage"), ({"image": 7}, "invalidImage"),
        ({"image": "!"}, "invalidImage"), ({"image": "AAAA"}, "invalidImage"), ({"image": new_uuid()}, "invalidImage"),
        ({"image": "/etc/hostname"}, "invalidImage"),
        ({"image": "http://127.0.0.1:1/x.png"}, "downloadFailed"),
    ],
)  # fmt: skip
def test_uploads_that_are_none(server, fields, code):
    task = {"taskType": "imageUpload", "taskUUID": new_uuid(), **fields}
    error = only_error(post(server.url, [task]))
    assert (error["code"], error["parameter"], error["taskUUID"]) == (code, "image", task["taskUUID"])
    if code == "invalidImage" and fields["image"] == "/etc/hostname":
        assert "upload" in error["message"]


def test_media_is_the_same_and_can_be_deleted(server):
    store = {"taskType": "mediaStorage", "operation": "upload", "media": BASE64}
    [item] = post(server.url, [{**store, "taskUUID": new_uuid()}]).json["data"]
    assert list(item) == ["taskType", "taskUUID", "operation", "mediaUUID", "mediaURL"]
    assert by(server, item["mediaUUID"]).status == 200
    delete = {"taskType": "mediaStorage", "operation": "delete", "media": item["mediaUUID"]}
    [gone] = post(server.url, [{**delete, "taskUUID": new_uuid()}]).json["data"]
    assert (gone["operation"], gone["mediaUUID"]) == ("delete", item["mediaUUID"])
    assert only_error(by(server, item["mediaUUID"]))["code"] == "invalidInputImage"
    for media in (item["mediaUUID"], "x"):
        reply = post(server.url, [{**delete, "taskUUID": new_uuid(), "media": media}])
        assert (reply.status, only_error(reply)["code"]) == (404, "mediaNotFound")
    bad = post(server.url, [{**store, "taskUUID": new_uuid(), "media": "!"}])
    assert only_error(bad)["code"] == "invalidMedia"
    wrong = post(server.url, [{**store, "taskUUID": new_uuid(), "operation": "move"}])
    assert only_error(wrong)["code"] == "invalidOperation"


def test_an_upload_that_has_expired_is_not_found_and_use_puts_that_off(start):
    with start() as server:
        item = upload(server)
        routes = server.app._starlette.routes
        files = next(route.endpoint._handler.__self__.files for route in routes if route.path == "/v1/media/{name}")

        async def expires(at_us):
            def change(connection):
                connection.exec_driver_sql(f"update files set expires_us = {at_us} where purpose = 'runware_image'")

            await files._store.write(change)

        async def when():
            record = await files._store.read(
                partial(statements.get, file_id=item["imageUUID"], now_us=now_us())
            )
            return None if record is None else record.expires_us

        soon = now_us() + 60_000_000
        server.do(lambda: expires(soon))
        assert by(server, item["imageUUID"]).status == 200
        assert server.do(when) > soon + 29 * 86_400_000_000
        server.do(lambda: expires(now_us() - 1))
        error = only_error(by(server, item["imageUUID"]))
        assert (error["code"], error["parameter"]) == ("invalidInputImage", "inputs.image")
        assert "expired" in error["message"]
        assert only_error(by(server, item["imageURL"]))["code"] == "invalidInputImage"
        assert call(server.url, "GET", item["imageURL"].removeprefix(server.url)).status == 404


def test_a_slow_download_holds_up_no_ping(server):
    with hosting({"/x.png": (200, png("blue", "square"))}) as (url, _), connected(server.url) as peer:
        peer.send({"taskType": "imageUpload", "taskUUID": new_uuid(), "image": f"{url}/x.png"})
        peer.send({"taskType": "ping", "ping": True})
        assert peer.item() == {"taskType": "ping", "pong": True}
        assert peer.item()["imageUUID"]


# ---- utilities ------------------------------------------------------------------------------------------------------


def search(server, **fields):
    reply = post(server.url, [{"taskType": "modelSearch", "taskUUID": new_uuid(), **fields}])
    return reply.json["data"][0] if reply.status == 200 else only_error(reply)


def test_models_are_searched_for(server):
    everything = search(server)
    assert [model["air"] for model in everything["results"]] == ["eye", "slow"] or everything["totalResults"] == 1
    item = search(server, search="LLaVA", limit=20, offset=0)
    assert item["totalResults"] == 1
    [model] = item["results"]
    assert model["name"] == "eye"
    for name in ("air", "name", "version", "category", "architecture", "heroImage", "comment"):
        assert isinstance(model[name], str)
    assert isinstance(model["tags"], list)
    assert model["private"] is False
    assert search(server, search="eye", offset=1) | {"taskUUID": ""} == {
        "taskType": "modelSearch", "taskUUID": "", "totalResults": 1, "results": [],
    }  # fmt: skip
    assert search(server, search="nothing of this name")["totalResults"] == 0
    assert search(server, search="eye", category="lora")["totalResults"] == 0
    for fields, code in (
        ({"limit": 0}, "invalidLimit"), ({"limit": 101}, "invalidLimit"), ({"offset": -1}, "invalidOffset"),
    ):  # fmt: skip
        assert search(server, **fields)["code"] == code


def test_the_account(server):
    task = {"taskType": "accountManagement", "taskUUID": new_uuid(), "operation": "getDetails"}
    [item] = post(server.url, [task]).json["data"]
    assert isinstance(item["balance"], int)
    before = item["usage"]["today"]["requests"]
    post(server.url, [caption(), caption(model="nobody")])
    [item] = post(server.url, [task]).json["data"]
    for span in ("total", "today", "last7Days", "last30Days"):
        assert item["usage"][span]["requests"] == before + 1
        assert item["usage"][span]["credits"] == pytest.approx(0.0019 * (before + 1))
    for operation in ("getUsageActivity", None, 7):
        error = only_error(post(server.url, [{**task, "operation": operation}]))
        assert (error["code"], error["parameter"]) == ("unsupportedParameter", "operation")
