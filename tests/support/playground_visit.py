"""The playground as somebody uses it who sits before a browser."""

from __future__ import annotations

from browser import Visit
from playwright.sync_api import Locator, expect

PATH = "/app/playground"
EYE, TEXT = "triptych/tiny-llava-1.6", "triptych/tiny-mixtral"
# Milliseconds until an answer is there, with the start of its model.
LONGEST = 60_000


def answered(seen: Visit, number: int = 1, state: str = "done") -> Locator:
    """The last of `number` answers, once it is over."""
    lines = seen.page.locator(".play-answer")
    expect(lines).to_have_count(number)
    expect(lines.last).to_have_attribute("data-state", state, timeout=LONGEST)
    return lines.last


def said(line: Locator) -> str:
    return line.locator(".play-text").inner_text()


def numbers(line: Locator) -> dict[str, str]:
    names, values = line.locator("dt").all_inner_texts(), line.locator("dd").all_inner_texts()
    return dict(zip(names, values, strict=True))


def choose(seen: Visit, name: str) -> None:
    seen.page.locator(f"[data-file='{name}.png']").click()
    expect(seen.page.locator("#pictures img")).to_have_count(1)


def code(seen: Visit, dialect: str, language: str) -> str:
    """The call as code, once it is there."""
    seen.page.locator(f"label[for=dialect-{dialect}]").click()
    seen.page.locator(f"label[for=language-{language}]").click()
    block = seen.page.locator("[data-block=code]")
    expect(block).to_be_visible()
    text = block.locator("code").text_content()
    assert block.locator("button.copy").get_attribute("data-copy") == text
    return text or ""
