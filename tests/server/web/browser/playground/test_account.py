"""Whoever asks in the playground asks with their key, pays with it, and is told how much."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Any

import pytest
from browser import Visit, visit
from http_calls import call
from playground_visit import PATH, answered, code, numbers, said
from playwright.sync_api import Browser
from servers import Running, null_models, serving

from triptych.server.accounts.cost import Price, part
from triptych.server.app import Options

KEY = "a secret key"
# Nano-dollars for a million tokens of `eye`; nothing is asked for `text`.
INPUT, OUTPUT = 1_234_567_000, 9_876_543_000
# As the playground shows money.
THREE_DIGITS = Context(prec=3, rounding=ROUND_HALF_EVEN)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """One that asks for a key."""
    price = Price((part("input", INPUT), part("output", OUTPUT)), "this test")
    options = Options(keys=(KEY,), drain=1, own_prices={"eye": price}, prices="free")
    with serving(null_models(), data=tmp_path, options=options) as running:
        yield running


@pytest.fixture
def seen(chrome: Browser, server: Running) -> Iterator[Visit]:
    """The playground in a browser that is signed in."""
    with visit(chrome, server.url) as opened:
        opened.go(f"/app/sign-in?next={PATH}")
        opened.page.get_by_label("Key", exact=True).fill(KEY)
        opened.page.get_by_role("button", name="Sign in").click()
        opened.page.wait_for_url(f"**{PATH}")
        yield opened


def ask(seen: Visit, text: str, number: int = 1) -> dict[str, str]:
    """What is told of the answer to `text`, the conversation's `number`th."""
    seen.page.locator("#prompt").fill(text)
    seen.page.locator("#send").click()
    line = answered(seen, number)
    assert said(line) == text
    return numbers(line)


def used(server: Running, path: str) -> Any:
    return call(server.url, "GET", f"/triptych/v1/{path}", headers={"authorization": f"Bearer {KEY}"}).json


def test_the_key_is_not_in_the_code(seen: Visit) -> None:
    ask(seen, "Good morning")
    seen.page.locator("#code summary").click()
    assert "secret" not in code(seen, "openai", "curl")
    assert "OPENAI_API_KEY" in code(seen, "openai", "curl")


def test_the_dollars_shown_are_those_in_the_books(seen: Visit, server: Running) -> None:
    seen.page.locator("#model").select_option("eye")
    shown = [ask(seen, "one two three"), ask(seen, "four " * 40 + "five", 2)]
    seen.page.locator("#model").select_option("text")
    assert ask(seen, "for nothing", 3)["Cost"] == "not priced"
    rows = used(server, "usage/rows")["usage"][::-1]
    assert [row["model"] for row in rows] == ["eye", "eye", "text"]
    for told, row in zip(shown, rows, strict=False):
        nano = round((row["prompt_tokens"] * INPUT + row["completion_tokens"] * OUTPUT) / 1_000_000)
        exact = Decimal(str(row["cost"]))
        assert exact == Decimal(nano).scaleb(-9)
        assert Decimal(told["Cost"].removeprefix("$")) == exact.normalize(THREE_DIGITS) > 0
        assert told["Generated"] == f"{row['completion_tokens']} tokens"
        assert told["Prompt"] == f"{row['prompt_tokens']} tokens"
    [whole] = used(server, "usage?by=key")["groups"]
    assert Decimal(str(whole["cost"])) == sum(Decimal(str(row["cost"])) for row in rows)
