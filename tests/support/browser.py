"""A real Chromium for the tests of pages, which sees what goes wrong in it: errors of scripts, anything the console
says, requests that leave the server, what sticks out on a narrow screen, and what axe finds hard to use.

Playwright's loop runs for as long as a browser is open, so tests that use one stand in a folder of their own, behind
which it is closed, and none of them is `async`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from client_environments import NODE_AXE, node_of
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

PHONE = (360, 740)
DESKTOP = (1280, 860)
# Where screenshots are put, if anywhere.
SCREENSHOTS = "TRIPTYCH_TEST_SCREENSHOTS"
# What a page shall come to, it may take its time for: other tests keep the processors busy.
expect.set_options(timeout=20_000)
_SETTLED = """async () => {
    await new Promise(requestAnimationFrame);
    for (const each of document.getAnimations()) if (each instanceof CSSTransition) each.finish();
}"""
_LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def chromium() -> str:
    """The path of Debian's Chromium. Without one the test is skipped, or fails in CI."""
    found = shutil.which("chromium")
    if found is None:
        reason = "there is no chromium: `apt-get install chromium` on Debian"
        pytest.fail(reason, pytrace=False) if os.environ.get("CI") else pytest.skip(reason)
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    path = chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Visit:
    """A page in a window of its own, and what went wrong there so far in `faults`."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.faults: list[str] = []
        self._origin = origin
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        self.faults.append(f"console {message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and f"{url.scheme}://{url.netloc}" != self._origin:
            self.faults.append(f"left the server: {request.url}")

    def go(self, path: str) -> None:
        """Open a page of the server and wait until it is all there."""
        self.page.goto(self._origin + path, wait_until="load")

    def sticks_out(self) -> list[str]:
        """What reaches over the right edge of the window, so that the page would scroll sideways."""
        width = self.page.evaluate("innerWidth")
        if self.page.evaluate("document.documentElement.scrollWidth") <= width:
            return []
        found = self.page.evaluate(
            "[...document.querySelectorAll('body *')]"
            ".filter(each => each.getBoundingClientRect().right > innerWidth + 1)"
            ".map(each => `${each.tagName} ${each.className} ${each.textContent.trim().slice(0, 40)}`)"
        )
        return list(found[:8]) or ["something unseen"]

    def violations(self, schemes: bool = False) -> list[str]:
        """What axe finds, with the elements; with `schemes` in light and dark, which differ in contrast alone."""
        self.page.evaluate(_axe())
        found = self._axe_finds({"runOnly": _LEVELS})
        if schemes:
            mine = self.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
            self.page.emulate_media(color_scheme="light" if mine else "dark")
            self.page.evaluate(_SETTLED)  # colours fade
            found += self._axe_finds({"runOnly": {"type": "rule", "values": ["color-contrast"]}})
            self.page.emulate_media(color_scheme="dark" if mine else "light")
        return found

    def _axe_finds(self, options: dict[str, Any]) -> list[str]:
        run = "options => axe.run(document, {...options, resultTypes: ['violations']})"
        found: dict[str, Any] = self.page.evaluate(run, options)
        return [
            f"{each['id']}: {each['help']}: {[node['html'][:160] for node in each['nodes'][:4]]}"
            for each in found["violations"]
        ]

    def keep(self, name: str) -> None:
        """Screenshots of the whole page, light and dark, if they are wanted."""
        folder = os.environ.get(SCREENSHOTS)
        if not folder:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        tall = self.page.evaluate("document.documentElement.scrollHeight") > 16_000  # more than Chromium draws
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            file = re.sub(r"\W+", "-", f"{name} {scheme}").strip("-")
            self.page.screenshot(path=str(Path(folder) / f"{file}.png"), full_page=not tall, animations="disabled")


@contextmanager
def visit(
    opened: Browser, origin: str, size: tuple[int, int] = DESKTOP, dark: bool = False, **options: Any
) -> Iterator[Visit]:
    """A new window with cookies of its own. `options` are those of Playwright's contexts, such as
    `java_script_enabled=False`.
    """
    scheme = "dark" if dark else "light"
    viewport = {"width": size[0], "height": size[1]}
    context = opened.new_context(viewport=viewport, color_scheme=scheme, **options)  # type: ignore[arg-type]
    try:
        yield Visit(context.new_page(), origin)
    finally:
        context.close()


@cache
def _axe() -> str:
    node_of(NODE_AXE)
    return (NODE_AXE / "node_modules" / "axe-core" / "axe.min.js").read_text()
