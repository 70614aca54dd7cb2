"""The way in for browsers, and that it leads nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http_calls import call
from hypothesis import given
from hypothesis import strategies as st
from page_calls import assert_nothing_runs, links, page, send_form, text_of
from servers import Running, null_models, serving

from triptych.server.app import Options
from triptych.server.web.operations.sign_in import own_path

IN, OUT = "/app/sign-in", "/app/sign-out"
KEY = "secret-key"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = Options(keys=(KEY,), drain=1)
    with serving(null_models(), options=options, data=tmp_path_factory.mktemp("data")) as running:
        yield running


def signed_in(server: Running) -> dict[str, str]:
    reply = send_form(server.url, IN, {"key": KEY})
    assert reply.status == 303
    return {"cookie": reply.headers["set-cookie"].partition(";")[0]}


def test_a_browser_is_let_in_with_a_key_and_out_again(server: Running) -> None:
    html = page(server.url, "/app/predictions", 401)
    assert IN in links(html)
    reply = send_form(server.url, IN, {"key": f"  {KEY} ", "next": "/app/usage?days=7"})
    assert (reply.status, reply.headers["location"]) == (303, "/app/usage?days=7")
    cookie = reply.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert part in cookie
    assert "Secure" not in cookie
    assert KEY not in cookie
    there = {"cookie": cookie.partition(";")[0]}
    html = page(server.url, "/app/predictions", headers=there)
    assert OUT in html
    assert KEY not in html
    reply = send_form(server.url, OUT, headers=there)
    assert (reply.status, reply.headers["location"]) == (303, IN)
    assert "Max-Age=0" in reply.headers["set-cookie"]


def test_over_https_the_cookie_is_for_https(server: Running) -> None:
    reply = send_form(server.url, IN, {"key": KEY}, {"x-forwarded-proto": "https"})
    assert "; Secure" in reply.headers["set-cookie"]


@pytest.mark.parametrize("key", ["", "mistaken-key", "tp_" + "0" * 49, "x" * 3000, "ключ", "<script>", "\x00"])
def test_a_key_that_is_none_is_told_the_same_whatever_it_is(server: Running, key: str) -> None:
    reply = send_form(server.url, IN, {"key": key, "next": "/app/keys"})
    html = reply.body.decode()
    assert reply.status == 401
    assert "set-cookie" not in reply.headers
    assert "This key does not open anything here." in text_of(html)
    assert 'name="next" value="/app/keys"' in html
    assert_nothing_runs(html)
    if len(key) > 1 and key != "<script>":
        assert key not in html


def test_a_session_that_was_tampered_with_is_none(server: Running) -> None:
    [name, value] = signed_in(server)["cookie"].split("=", 1)
    for bad in (value[:-1] + ("0" if value[-1] != "0" else "1"), "", "a.b.c", value + "0", value.replace(".", "", 1)):
        assert call(server.url, "GET", "/app/predictions", headers={"cookie": f"{name}={bad}"}).status == 401


def test_a_form_of_another_site_signs_nobody_in_or_out(server: Running) -> None:
    for origin in ("https://evil.example", "null", None):
        assert send_form(server.url, IN, {"key": KEY}, origin=origin).status == 403
        assert send_form(server.url, OUT, headers=signed_in(server), origin=origin).status == 403


def test_the_cookie_counts_only_for_this_servers_own_pages(server: Running) -> None:
    body = {"model": "eye", "messages": [{"role": "user", "content": "a"}]}
    there = signed_in(server)
    assert call(server.url, "POST", "/v1/chat/completions", body, {**there, "origin": server.url}).status == 200
    for foreign in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {}):
        assert call(server.url, "POST", "/v1/chat/completions", body, {**there, **foreign}).status == 401


OUTSIDE = (
    "https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)", "",
    "/\t/evil.example", "/\n/evil.example", "app/keys", "/\r\nset-cookie:x=y", "/a b", "/" + "x" * 3000, "/é",
)  # fmt: skip


@pytest.mark.parametrize("target", OUTSIDE)
def test_signing_in_leads_to_this_server_alone(server: Running, target: str) -> None:
    assert own_path(target) is None
    reply = send_form(server.url, IN, {"key": KEY, "next": target})
    assert (reply.status, reply.headers["location"]) == (303, "/app/predictions")


@given(st.text())
def test_a_path_of_ours_has_no_way_out(text: str) -> None:
    found = own_path(text)
    assert found is None or (found == text and text[0] == "/" and text[1:2] not in ("/", "\\") and text.isprintable())


def test_it_leads_back_to_where_one_came_from(server: Running) -> None:
    came = {"referer": f"{server.url}/app/keys?revoked=1"}
    assert 'value="/app/keys?revoked=1"' in page(server.url, IN, headers=came)
    for other in ("https://evil.example/app/keys", f"{server.url}/v1/models", f"{server.url}{IN}", "x", "//"):
        assert 'name="next" value=""' in page(server.url, IN, headers={"referer": other})
    assert 'value="/app/usage"' in page(server.url, f"{IN}?next=/app/usage")


def test_an_open_server_says_that_no_key_is_needed() -> None:
    with serving(null_models()) as server:
        assert "No key is needed" in text_of(page(server.url, IN))
        reply = send_form(server.url, IN, {"key": "anything"})
        assert reply.status == 303
        assert "set-cookie" not in reply.headers
