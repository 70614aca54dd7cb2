"""The pages about keys: making, changing, rotating and revoking them, and who may."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import Reply, ask, call
from page_calls import assert_nothing_runs, links, page, send_form, text_of
from servers import Running, null_models, serving

from triptych.server.app import Options

PATH = "/app/keys"
ADMIN = "settings-key"
HEADERS = {"authorization": f"Bearer {ADMIN}"}
SECRET = re.compile(r"tp_[0-9A-Za-z]{49}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = Options(keys=(ADMIN,), drain=1)
    with serving(null_models(), options=options, data=tmp_path_factory.mktemp("data")) as running:
        yield running


def made(server: Running, name: str, **fields: object) -> tuple[str, str]:
    """A new key: its id and its secret."""
    reply = send_form(server.url, PATH, {"name": name, **fields}, HEADERS)
    assert reply.status == 200, text_of(reply.body.decode())
    html = reply.body.decode()
    [key_id] = {link.rpartition("/")[2] for link in links(html) if link.startswith(f"{PATH}/")}
    [secret] = set(SECRET.findall(html))
    return key_id, secret


def known(server: Running, key_id: str) -> dict[str, object]:
    return call(server.url, "GET", f"/triptych/v1/keys/{key_id}", headers=HEADERS).json


def lets_in(server: Running, secret: str) -> bool:
    return call(server.url, "GET", "/v1/models", headers={"authorization": f"Bearer {secret}"}).status == 200


def test_a_key_is_made_as_the_form_says_and_its_secret_is_shown_once(server: Running) -> None:
    fields = {
        "expires": "86400", "budget": "12.50", "per": "week", "requests_per_minute": "1,000", "tokens_per_minute": "",
        "models": ["eye"], "dialects": ["openai", "runware"],
    }  # fmt: skip
    reply = send_form(server.url, PATH, {"name": "team blue", **fields}, HEADERS)
    assert reply.headers["cache-control"] == "no-store"
    assert_nothing_runs(reply.body.decode())
    key_id, secret = made(server, "team blue", **fields)
    assert lets_in(server, secret)
    found = known(server, key_id)
    assert found["name"] == "team blue"
    assert found["models"] == ["eye"]
    assert found["dialects"] == ["openai", "runware"]
    assert found["requests_per_minute"] == 1000
    assert found["tokens_per_minute"] is None
    assert found["budget"]["limit"] == 12.5  # type: ignore[index]
    assert found["budget"]["per"] == "week"  # type: ignore[index]
    assert found["admin"] is False
    assert 86_000 < found["expires_at"] - found["created_at"] < 87_000  # type: ignore[operator]
    for path in (PATH, f"{PATH}/{key_id}"):
        html = page(server.url, path, headers=HEADERS)
        assert secret not in html
        assert secret[:9] in html
        assert "$0.00 of $12.50 this week; $12.50 left" in text_of(html)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": ""}, "name of 1 to 200"), ({"name": "x", "budget": "much"}, "amount of dollars"),
        ({"name": "x", "budget": "-1"}, "at least 0"), ({"name": "x", "requests_per_minute": "1.5"}, "whole number"),
        ({"name": "x", "requests_per_minute": "0"}, "must be from 1"), ({"name": "x", "models": ["no"]}, "not served"),
        ({"name": "x", "expires": "1"}, "length of time"), ({"name": "x", "dialects": ["latin"]}, "latin"),
        ({"name": "x", "per": "year"}, "no such period"), ({"name": "x\n<b>"}, "name of 1 to 200"),
    ],
)  # fmt: skip
def test_a_form_that_is_wrong_comes_back_with_the_reason(server: Running, fields: dict[str, object], why: str) -> None:
    before = call(server.url, "GET", "/triptych/v1/keys", headers=HEADERS).json
    reply = send_form(server.url, PATH, {"tokens_per_minute": "77", **fields}, HEADERS)
    html = reply.body.decode()
    assert reply.status == 400
    assert why in text_of(html)
    assert 'value="77"' in html  # what was given is there still
    assert 'role="alert"' in html
    assert_nothing_runs(html)
    assert call(server.url, "GET", "/triptych/v1/keys", headers=HEADERS).json == before


def test_a_key_is_changed(server: Running) -> None:
    key_id, _ = made(server, "before", budget="1", models=["eye"])
    html = page(server.url, f"{PATH}/{key_id}", headers=HEADERS)
    assert 'value="1.00"' in html
    assert re.search(r'value="eye" checked', html)
    path = f"{PATH}/{key_id}"
    reply = send_form(server.url, path, {"name": "after", "budget": "", "tokens_per_minute": "50"}, HEADERS)
    assert (reply.status, reply.headers["location"]) == (303, path)
    found = known(server, key_id)
    assert (found["name"], found["budget"], found["models"], found["tokens_per_minute"]) == ("after", None, None, 50)
    reply = send_form(server.url, path, {"name": "after", "budget": "x"}, HEADERS)
    assert reply.status == 400
    assert "amount of dollars" in text_of(reply.body.decode())


def test_a_key_gets_a_new_secret(server: Running) -> None:
    key_id, old = made(server, "turned")
    reply = send_form(server.url, f"{PATH}/{key_id}/rotate", {"overlap": "0"}, HEADERS)
    [new] = set(SECRET.findall(reply.body.decode()))
    assert new != old
    assert lets_in(server, new)
    assert not lets_in(server, old)
    reply = send_form(server.url, f"{PATH}/{key_id}/rotate", {"overlap": "3600"}, HEADERS)
    [newest] = set(SECRET.findall(reply.body.decode()))
    assert lets_in(server, newest)
    assert lets_in(server, new)
    assert send_form(server.url, f"{PATH}/{key_id}/rotate", {"overlap": "1"}, HEADERS).status == 400


def test_a_key_is_revoked_for_ever(server: Running) -> None:
    key_id, secret = made(server, "leaving us")
    reply = send_form(server.url, f"{PATH}/{key_id}/revoke", {}, HEADERS)
    assert (reply.status, reply.headers["location"]) == (303, PATH)
    assert not lets_in(server, secret)
    assert "leaving us" not in text_of(page(server.url, PATH, headers=HEADERS))
    assert "leaving us" in text_of(page(server.url, f"{PATH}?revoked=1", headers=HEADERS))
    html = page(server.url, f"{PATH}/{key_id}", headers=HEADERS)
    assert "never lets in again" in text_of(html)
    assert "<form" not in html.partition("<main")[2].partition("</main")[0]
    for path in (f"{PATH}/{key_id}", f"{PATH}/{key_id}/rotate", f"{PATH}/{key_id}/revoke"):
        assert send_form(server.url, path, {"name": "x"}, HEADERS).status in (400, 404)
    assert page(server.url, f"{PATH}/nobody", 404, HEADERS)


def test_an_admin_key_cannot_revoke_itself(server: Running) -> None:
    key_id, secret = made(server, "chief", admin="1")
    mine = {"authorization": f"Bearer {secret}"}
    assert "only another admin" in text_of(page(server.url, f"{PATH}/{key_id}", headers=mine))
    assert send_form(server.url, f"{PATH}/{key_id}/revoke", {}, mine).status == 409
    assert lets_in(server, secret)


def test_others_see_their_own_key_and_change_nothing(server: Running) -> None:
    key_id, secret = made(server, "worker", budget="3")
    mine = {"authorization": f"Bearer {secret}"}
    html = page(server.url, PATH, headers=mine)
    text = text_of(html)
    assert "Your key" in text
    assert "$3.00 left" in text
    assert "New key" not in text
    assert "/app/running" not in links(html)
    assert "/app/running" in links(page(server.url, PATH, headers=HEADERS))
    assert "<form" not in html.partition("<main")[2]
    refused: list[Reply] = [
        call(server.url, "GET", f"{PATH}/{key_id}", headers=mine),
        send_form(server.url, PATH, {"name": "x", "admin": "1"}, mine),
        send_form(server.url, f"{PATH}/{key_id}", {"name": "x", "budget": "1000"}, mine),
        send_form(server.url, f"{PATH}/{key_id}/rotate", {}, mine),
        send_form(server.url, f"{PATH}/{key_id}/revoke", {}, mine),
        call(server.url, "GET", "/app/running", headers=mine),
        send_form(server.url, "/app/running/eye/stop", {}, mine),
    ]  # fmt: skip
    for reply in refused:
        assert reply.status == 403
        assert "This page is for admins" in text_of(reply.body.decode())
        assert "/app/sign-in" in links(reply.body.decode())
    assert known(server, key_id)["budget"]["limit"] == 3.0  # type: ignore[index]


def test_names_are_text(server: Running) -> None:
    made(server, '<script>alert(1)</script>"onload=x')
    html = page(server.url, PATH, headers=HEADERS)
    assert_nothing_runs(html)
    assert '<script>alert(1)</script>"onload=x' in text_of(html)


def test_forms_of_other_sites_make_no_keys(server: Running) -> None:
    before = call(server.url, "GET", "/triptych/v1/keys", headers=HEADERS).json
    for origin in ("https://evil.example", "null"):
        assert send_form(server.url, PATH, {"name": "x"}, HEADERS, origin=origin).status == 403
    assert call(server.url, "GET", "/triptych/v1/keys", headers=HEADERS).json == before


def test_the_first_key_of_an_open_server_signs_its_maker_in(tmp_path: Path) -> None:
    with serving(null_models(), data=tmp_path) as server:
        assert "lets everybody in" in text_of(page(server.url, PATH))
        reply = send_form(server.url, PATH, {"name": "not an admin"})
        assert reply.status == 400
        assert "must be an administrator" in text_of(reply.body.decode())
        reply = send_form(server.url, PATH, {"name": "me", "admin": "1"})
        cookie = reply.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert call(server.url, "GET", PATH).status == 401
        signed_in = {"cookie": cookie.partition(";")[0]}
        assert "me" in text_of(page(server.url, PATH, headers=signed_in))
        # Rotating the key that one is signed in with does not lock one out.
        [key_id] = {link.rpartition("/")[2] for link in links(reply.body.decode()) if link.startswith(f"{PATH}/")}
        reply = send_form(server.url, f"{PATH}/{key_id}/rotate", {}, signed_in)
        assert call(server.url, "GET", PATH, headers=signed_in).status == 401
        page(server.url, PATH, headers={"cookie": reply.headers["set-cookie"].partition(";")[0]})


def test_keys_of_the_settings_are_listed_without_their_secrets(tmp_path: Path) -> None:
    secrets = ("a-first-secret", "a-second-secret")
    options = Options(keys=secrets, keys_from="TRIPTYCH_KEYS", drain=1)
    second = {"authorization": f"Bearer {secrets[1]}"}
    with serving(null_models(), options=options, data=tmp_path) as server:
        assert ask(server.url, "one two", "text", second).status == 200
        html = page(server.url, PATH, headers=second)
        told = text_of(html).partition("Keys of the settings")[2]
        assert "They stand in TRIPTYCH_KEYS" in told
        assert [told.count(f" key {number} of the settings active admin") for number in (1, 2, 3)] == [1, 1, 0]
        assert "secret" not in html.partition("<main")[2].replace("A secret is shown once", "")
        used = [text_of(page(server.url, link, headers=second)) for link in links(html) if "usage?key=" in link]
        assert ["Requests 1 " in text for text in used] == [False, True]
        assert "What “key 2 of the settings” used" in used[1]


def test_pages_of_many_keys(tmp_path: Path) -> None:
    with serving(null_models(), options=Options(keys=(ADMIN,), drain=1), data=tmp_path) as server:
        names = {f"key number {number:03}" for number in range(53)}
        for name in names:
            body = {"name": name}
            assert call(server.url, "POST", "/triptych/v1/keys", body, HEADERS).status == 201
        first = page(server.url, PATH, headers=HEADERS)
        [older] = [link for link in links(first) if "before=" in link]
        second = page(server.url, older, headers=HEADERS)
        seen = re.findall(r"key number \d{3}", text_of(first) + text_of(second))
        assert sorted(seen) == sorted(names)
