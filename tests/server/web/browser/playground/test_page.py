"""The playground as a page: for every screen and everybody, and safe whatever is written in it."""

from __future__ import annotations

import pytest
from browser import DESKTOP, PHONE, Visit, visit
from playground_visit import EYE, PATH, answered, choose, code, said
from playwright.sync_api import Browser, expect

from triptych.server.web.drawings import picture

HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


@pytest.mark.parametrize(("size", "dark"), [(PHONE, False), (DESKTOP, True)], ids=["phone-light", "desktop-dark"])
def test_it_fits_and_is_fit_for_all(chrome: Browser, url: str, size: tuple[int, int], dark: bool) -> None:
    with visit(chrome, url, size, dark) as seen:
        seen.go(f"{PATH}?model={EYE}")
        look = f"playground {'phone' if size == PHONE else 'desktop'}"
        assert seen.sticks_out() == [] == seen.violations(schemes=True)
        seen.keep(look)
        choose(seen, "four-shapes")
        seen.page.get_by_role("button", name="How many objects are there?").click()
        assert said(answered(seen)) == "4"
        seen.page.locator("#code summary").click()
        code(seen, "openai", "python")
        assert seen.sticks_out() == [] == seen.violations(schemes=True)
        seen.keep(f"{look} answer")
        assert seen.faults == []


def test_without_scripts_it_says_what_it_needs(chrome: Browser, url: str) -> None:
    with visit(chrome, url, java_script_enabled=False) as seen:
        seen.go(PATH)
        expect(seen.page.locator("noscript .notice")).to_contain_text("needs JavaScript")
        expect(seen.page.locator("#composer")).to_be_hidden()
        seen.keep("playground without scripts")


def test_nothing_that_is_written_becomes_html(seen: Visit) -> None:
    """Prompts, what a model says, system prompts and names of files: all of it is text, in the code too."""
    page = seen.page
    page.locator("#model").select_option("slow")
    page.locator("#system").fill(HOSTILE)
    file = {"name": f"{HOSTILE.replace('/', '')}.png", "mimeType": "image/png", "buffer": picture("number")}
    page.locator("#picker").set_input_files([file])
    page.locator("#prompt").fill(HOSTILE)
    page.locator("#send").click()
    line = answered(seen)
    assert said(line) == HOSTILE
    assert page.locator(".play-question .play-text").inner_text() == HOSTILE
    page.locator("#code summary").click()
    assert "onerror" in code(seen, "openai", "javascript")
    assert page.locator("#playground script, img[src=x]").count() == 0
    assert page.title() == "Playground · Triptych"
    assert seen.faults == []
