"""The pages for operators in a real browser: they follow what happens, and their buttons work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import DESKTOP, PHONE, Visit, visit
from http_calls import ask, call
from playwright.sync_api import Browser, expect
from runware_calls import PNG, URI
from servers import NOWHERE, Running, null_models, serving

from triptych.server.app import Options

HOSTILE = "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=2</script>'\"&"
KEY = "chief"


async def any_picture(url: str) -> bytes:
    return PNG


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An open server whose models take their time: ten words a second."""
    with serving(null_models(delay=0.1), any_picture, data=tmp_path_factory.mktemp("slow")) as running:
        yield running


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that asks for keys, on which something of everything has happened."""
    options = Options(keys=(KEY,), drain=1)
    with serving(null_models(), any_picture, options=options, data=tmp_path_factory.mktemp("locked")) as running:
        wish = {"name": f"team {HOSTILE}", "budget": "5", "models": ["eye"]}
        call(running.url, "POST", "/triptych/v1/keys", wish, bearer())
        asked(running, "describe it", headers=bearer(), image=URI, webhook=NOWHERE)
        asked(running, HOSTILE, headers=bearer())
        ask(running.url, "one two", "text", bearer())
        yield running


def bearer() -> dict[str, str]:
    return {"authorization": f"Bearer {KEY}"}


def asked(server: Running, prompt: str, headers: dict[str, str] | None = None, wait: bool = True, **more: Any) -> str:
    """A prediction in Replicate's way; its id."""
    fields = {"webhook": more.pop("webhook")} if "webhook" in more else {}
    body = {"version": "eye", "input": {"prompt": prompt, **more}, **fields}
    prefer = {"prefer": "wait=20"} if wait else {}
    reply = call(server.url, "POST", "/v1/predictions", body, {**prefer, **(headers or {})})
    assert reply.status in (201, 202), reply.body
    return reply.json["id"]


def sign_in(seen: Visit, following: str = "/app/predictions") -> None:
    seen.go(f"/app/sign-in?next={following}")
    seen.page.fill("#key", KEY)
    seen.page.click("main button")
    seen.page.wait_for_url(f"**{following}")


def mark(seen: Visit) -> None:
    """Note that this very page is looked at; a load would forget it."""
    seen.page.evaluate("window.marked = true")


def is_marked(seen: Visit) -> bool:
    return bool(seen.page.evaluate("window.marked === true"))


# ---- as it happens --------------------------------------------------------------------------------------------------


def test_the_list_follows_a_prediction_to_its_end(chrome: Browser, slow: Running) -> None:
    before = asked(slow, "two words")
    prediction = asked(slow, " ".join(f"w{number}" for number in range(60)), wait=False)
    with visit(chrome, slow.url) as seen:
        seen.go("/app/predictions")
        mark(seen)
        row = seen.page.locator(f"#p-{prediction}")
        expect(row).to_contain_text(re.compile("starting|processing"))
        seen.page.evaluate(f"document.getElementById('p-{before}').same = true")
        expect(row).to_contain_text("succeeded")
        expect(row).to_contain_text("+ 60")
        assert is_marked(seen)
        # What did not change was not touched, and nothing is asked any more.
        assert seen.page.evaluate(f"document.getElementById('p-{before}').same")
        expect(seen.page.locator("#live")).not_to_have_attribute("hx-get", re.compile(""))
        assert seen.faults == []


def test_a_prediction_is_watched_and_canceled(chrome: Browser, slow: Running) -> None:
    prediction = asked(slow, " ".join(["word"] * 300), wait=False)
    with visit(chrome, slow.url) as seen:
        seen.go(f"/app/predictions/{prediction}")
        mark(seen)
        expect(seen.page.locator("#status")).to_contain_text("processing")
        expect(seen.page.locator("#answer")).to_contain_text("word word")
        expect(seen.page.locator("#timeline")).to_contain_text("so far")
        assert seen.violations() == []
        seen.page.click("text=Cancel")
        expect(seen.page.locator("#status")).to_contain_text("canceled")
        expect(seen.page.locator("#log")).to_contain_text("canceled by its caller")
        assert is_marked(seen)
        expect(seen.page.locator("button:has-text('Cancel')")).to_have_count(0)
        seen.page.click("text=Run again")
        seen.page.wait_for_url(lambda url: prediction not in url)
        seen.page.click("text=Cancel")
        expect(seen.page.locator("#status")).to_contain_text("canceled")
        seen.page.go_back()
        expect(seen.page.locator(".crumbs")).to_contain_text(prediction)
        assert seen.faults == []


def test_buttons_work_without_scripts(chrome: Browser, slow: Running) -> None:
    prediction = asked(slow, " ".join(["word"] * 300), wait=False)
    with visit(chrome, slow.url, java_script_enabled=False) as seen:
        seen.go(f"/app/predictions/{prediction}")
        seen.page.click("text=Cancel")
        expect(seen.page.locator("#status")).to_contain_text("canceled")
        assert seen.page.url.endswith(prediction)
        seen.go("/app/predictions")
        seen.page.select_option("#status", "canceled")
        seen.page.click("text=Filter")
        expect(seen.page).to_have_url(re.compile("status=canceled"))
        assert prediction in seen.page.content()
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", seen.page.inner_text(f"#p-{prediction}"))


def test_a_webhook_is_sent_again_and_its_tries_come_in(chrome: Browser, slow: Running) -> None:
    prediction = asked(slow, "one", webhook=NOWHERE)
    with visit(chrome, slow.url) as seen:
        seen.go(f"/app/webhooks?prediction={prediction}")
        seen.page.locator("tbody a", has_text="completed").click()
        tries = seen.page.locator("#tries tbody tr")
        expect(tries).to_have_count(1)
        mark(seen)
        seen.page.click("text=Send again now")
        expect(tries).to_have_count(2)
        expect(seen.page.locator("#status")).to_contain_text("given up")
        assert is_marked(seen)
        assert seen.faults == []


def test_a_model_is_started_and_stopped(chrome: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(null_models(load_seconds=0.5)) as server, visit(chrome, server.url) as seen:
        seen.go("/app/running")
        mark(seen)
        model = seen.page.locator("#m-1")
        model.locator("button").click()
        expect(model).to_contain_text("ready")
        expect(model).to_contain_text("The last start")
        model.locator("button", has_text="Stop").click()
        expect(model).to_contain_text("stopped")
        assert is_marked(seen)
        assert seen.violations() == []
        assert seen.faults == []


def test_filters_answer_as_one_chooses(chrome: Browser, slow: Running) -> None:
    prediction = asked(slow, "one")
    with visit(chrome, slow.url) as seen:
        seen.go("/app/predictions")
        mark(seen)
        seen.page.fill("#text", prediction[-8:])
        expect(seen.page.locator("#list tbody tr")).to_have_count(1)
        expect(seen.page.locator(f"#p-{prediction}")).to_be_visible()
        seen.page.wait_for_url(f"**text={prediction[-8:]}*")
        seen.page.select_option("#status", "failed")
        expect(seen.page.locator("#list")).to_contain_text("None of them")
        assert is_marked(seen)
        assert seen.faults == []


def test_times_are_the_readers_own(chrome: Browser, slow: Running) -> None:
    prediction = asked(slow, "one")
    with visit(chrome, slow.url, timezone_id="Asia/Kolkata", locale="en-GB") as seen:
        seen.go(f"/app/predictions/{prediction}")
        time = seen.page.locator("#facts time").first
        utc = time.get_attribute("datetime") or ""
        minutes = (int(utc[11:13]) * 60 + int(utc[14:16]) + 330) % 1440
        expect(time).to_contain_text(f"{minutes // 60:02}:{minutes % 60:02}:{utc[17:19]}")
        expect(seen.page.locator(".lead time")).to_contain_text(re.compile("sec|now"))


# ---- keys and the way in --------------------------------------------------------------------------------------------


def test_the_way_in_and_out(chrome: Browser, locked: Running) -> None:
    with visit(chrome, locked.url) as seen:
        seen.go("/app/keys")
        seen.page.click("main a:has-text('Sign in')")
        seen.page.fill("#key", "no such key")
        seen.page.keyboard.press("Enter")
        expect(seen.page.locator("[role=alert]")).to_contain_text("does not open anything")
        assert seen.violations() == []
        assert seen.page.evaluate("document.activeElement.id") == "key"
        seen.page.fill("#key", KEY)
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_url("**/app/keys")  # where one came from
        seen.page.click("text=Sign out")
        seen.page.wait_for_url("**/app/sign-in")
        seen.go("/app/keys")
        assert "Sign in" in seen.page.inner_text("h1")
        assert [fault for fault in seen.faults if "401" not in fault] == []


def test_a_key_is_made_and_its_secret_copied(chrome: Browser, locked: Running) -> None:
    with visit(chrome, locked.url, permissions=["clipboard-read", "clipboard-write"]) as seen:
        sign_in(seen, "/app/keys")
        mark(seen)
        seen.page.click("summary")
        seen.page.fill("#name", "from a browser")
        seen.page.fill("#budget", "lots")
        seen.page.click("text=Make the key")
        expect(seen.page.locator("#wrong-budget")).to_contain_text("amount of dollars")
        assert seen.page.input_value("#name") == "from a browser"
        assert seen.violations() == []
        seen.page.fill("#budget", "2.50")
        seen.page.click("text=Make the key")
        secret = seen.page.locator(".secret code")
        expect(secret).to_contain_text(re.compile(r"^tp_\w{49}$"))
        text = secret.inner_text()
        seen.page.click(".secret .copy")
        seen.page.wait_for_function("document.getElementById('told').textContent === 'Copied'")
        assert seen.page.evaluate("navigator.clipboard.readText()") == text
        assert call(locked.url, "GET", "/v1/models", headers={"authorization": f"Bearer {text}"}).status == 200
        assert is_marked(seen)
        seen.page.click("text=I have it")
        expect(secret).to_have_count(0)
        assert text not in seen.page.content()
        expect(seen.page.locator("aside")).to_contain_text("$2.50 left")
        # The console tells of the status of the first try; there is nothing else.
        assert [fault for fault in seen.faults if "400" not in fault] == []


# ---- all of them ----------------------------------------------------------------------------------------------------

PAGES = (
    "predictions", "prediction", "webhooks", "webhook", "running", "usage", "usage?by=key", "keys", "key", "sign-in",
)  # fmt: skip


def address(server: Running, name: str) -> str:
    def newest(path: str, kind: str) -> str:
        return str(call(server.url, "GET", f"/triptych/v1/{path}", headers=bearer()).json[kind][-1]["id"])

    if name == "prediction":
        return f"predictions/{newest('predictions', 'predictions')}"
    if name == "webhook":
        return f"webhooks/{newest('webhooks', 'webhooks')}"
    return f"keys/{newest('keys', 'keys')}" if name == "key" else name


@pytest.mark.parametrize(("size", "dark"), [(PHONE, False), (DESKTOP, True)], ids=["phone-light", "desktop-dark"])
def test_every_page_is_whole_and_usable(chrome: Browser, locked: Running, size: tuple[int, int], dark: bool) -> None:
    with visit(chrome, locked.url, size, dark) as seen:
        sign_in(seen)
        for name in PAGES:
            seen.go(f"/app/{address(locked, name)}")
            assert seen.sticks_out() == [], name
            assert seen.violations(schemes=True) == [], name
            seen.keep(f"operations {name} {'phone' if size is PHONE else 'desktop'}")
            assert seen.page.evaluate("window.pwned") is None
        assert seen.faults == []


def test_hostile_text_stays_text(chrome: Browser, locked: Running) -> None:
    with visit(chrome, locked.url) as seen:
        sign_in(seen)
        found = call(locked.url, "GET", "/triptych/v1/predictions", headers=bearer()).json["predictions"]
        for each in found:
            seen.go(f"/app/predictions/{each['id']}")
        expect(seen.page.locator("#content")).not_to_contain_text("nothing of the sort")
        seen.go(f"/app/predictions/{found[0]['id']}")
        assert HOSTILE in seen.page.inner_text(".given")
        assert seen.page.evaluate("window.pwned") is None
        assert seen.faults == []


def test_the_picture_of_a_prediction_loads(chrome: Browser, locked: Running) -> None:
    with visit(chrome, locked.url) as seen:
        sign_in(seen)
        seen.go(f"/app/{address(locked, 'prediction')}")
        picture = seen.page.locator(".pictures img")
        picture.scroll_into_view_if_needed()
        seen.page.wait_for_function("document.querySelector('.pictures img').complete")
        assert picture.evaluate("image => image.naturalWidth") > 0
        assert seen.faults == []
