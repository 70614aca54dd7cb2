"""Every page of the catalogue as people meet it: on a phone and a screen, by day and by night, without scripts too."""

from __future__ import annotations

import re

import pytest
from browser import DESKTOP, PHONE, visit
from playwright.sync_api import expect

PAGES = [
    "/", "/reference", "/app/models", "/app/models/llava-1.6-mistral-7b", "/app/models/mixtral-8x7b",
    "/app/models/tiny-llava-1.6", "/app/models/llava-13b", "/app/providers", "/app/providers/replicate",
    "/app/compare", "/app/compare?model=mixtral-8x7b&model=llava-1.5-7b&input=1M&output=x", "/app/changes",
]  # fmt: skip


@pytest.mark.parametrize(("size", "dark"), [(PHONE, False), (DESKTOP, True)], ids=["phone-light", "desktop-dark"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_and_usable(chrome, site, path, size, dark):
    with visit(chrome, site.url, size, dark) as seen:
        seen.go(path)
        assert seen.sticks_out() == []
        if path == "/reference":  # its groups are of one form, and axe would look at thousands of fields
            seen.page.evaluate("document.querySelectorAll('.group ~ .group ~ .group').forEach(each => each.remove())")
        assert seen.violations() == []
        background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) < 200) is dark
        assert seen.faults == []
        seen.keep(f"{path} {'phone' if size is PHONE else 'desktop'}")


def test_an_error_is_a_page_too(chrome, site):
    with visit(chrome, site.url, PHONE) as seen:
        seen.go("/app/models/nobody")
        assert "Not in the catalogue" in seen.page.inner_text("h1")
        assert seen.sticks_out() == []
        assert seen.violations() == []
        # The console tells of the status; there is nothing else.
        assert [fault for fault in seen.faults if "404" not in fault] == []


def test_search_filters_as_one_types_and_the_address_says_so(chrome, site):
    with visit(chrome, site.url) as seen:
        seen.go("/app/models")
        cards = seen.page.locator(".models > li")
        everything = cards.count()
        seen.page.keyboard.press("/")
        assert seen.page.evaluate("document.activeElement.id") == "q"
        seen.page.keyboard.type("runware:150@2")
        expect(cards).to_have_count(1)
        expect(cards.locator("h2")).to_have_text("LLaVA 1.6 Mistral 7B")
        assert seen.page.evaluate("document.activeElement.id") == "q"
        seen.page.wait_for_url("**/app/models?q=runware*")
        seen.page.fill("#q", "")
        seen.page.check("input[name=served]")
        expect(cards.locator("h2")).to_have_text(re.compile("^Tiny LLaVA 1.6"))
        seen.page.uncheck("input[name=served]")
        expect(cards).to_have_count(everything)
        assert seen.faults == []


def test_the_compare_form_answers_at_once_and_says_what_is_wrong(chrome, site):
    with visit(chrome, site.url) as seen:
        seen.go("/app/compare?model=mixtral-8x7b&input=1M")
        before = seen.page.inner_text("#result .bars")
        assert "Perplexity" in before
        assert "$0.07" in before
        seen.page.fill("#w-input", "2M")
        seen.page.locator("#w-input").blur()
        expect(seen.page.locator("#result .bars")).to_contain_text("$0.14")
        seen.page.fill("#w-output", "lots")
        seen.page.locator("#w-output").blur()
        alert = seen.page.locator("#result [role=alert]")
        expect(alert).to_contain_text("output must be a whole number", ignore_case=True)
        assert seen.violations() == []
        assert seen.faults == []


def test_recipes_are_tabs_and_are_copied_as_they_stand(chrome, site):
    with visit(chrome, site.url, permissions=["clipboard-read", "clipboard-write"]) as seen:
        seen.go("/app/models/tiny-llava-1.6")
        page = seen.page
        page.locator("label[for=dialect-replicate]").click()
        shown = page.locator(".recipes .command:visible").first
        code = shown.locator("code").text_content()
        assert "replicate" in code
        shown.locator("button.copy").click()
        expect(page.locator("#told")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == code
        page.locator("#dialect-replicate").press("ArrowRight")
        expect(page.locator("#dialect-runware")).to_be_checked()
        assert seen.faults == []


def test_pages_work_without_scripts(chrome, site):
    with visit(chrome, site.url, java_script_enabled=False) as seen:
        seen.go("/app/models")
        assert not seen.page.locator("button.copy").first.is_visible()
        seen.page.fill("#q", "mixtral")
        seen.page.check("input[name=runs]")
        seen.page.click("button.no-script")
        expect(seen.page).to_have_url(re.compile("q=mixtral"))
        names = seen.page.locator(".models h2").all_inner_texts()
        assert set(names) == {"Mixtral 8x7B", "Tiny Mixtral (demonstration)"}
        seen.page.click("text=Mixtral 8x7B")
        seen.page.locator("summary", has_text="routes left out").click()
        expect(seen.page.locator("text=retired since").first).to_be_visible()


def test_the_keyboard_reaches_the_content_first(chrome, site):
    with visit(chrome, site.url, PHONE) as seen:
        seen.go("/app/models/mixtral-8x7b")
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.className") == "skip"
        seen.page.keyboard.press("Enter")
        assert seen.page.evaluate("document.activeElement.id") == "content"
