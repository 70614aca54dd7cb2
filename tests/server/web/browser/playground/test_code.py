"""The call as code: it runs, it says the same, and it follows the form."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from browser import Visit
from client_environments import INSTALL, python_of
from playground_visit import PATH, choose, code
from playwright.sync_api import expect

from triptych.server.web.drawings import picture

_PYTHONS = {"openai": "clients", "replicate": "replicate", "runware": "runware"}


@pytest.mark.timeout(INSTALL + 120)
@pytest.mark.parametrize("dialect", _PYTHONS)
def test_the_code_that_is_shown_runs_and_says_the_truth(seen: Visit, dialect: str, tmp_path: Path) -> None:
    choose(seen, "two-shapes")
    seen.page.locator("#prompt").fill("What color is the circle?")
    seen.page.locator("#code summary").click()
    (tmp_path / "two-shapes.png").write_bytes(picture("two-shapes") or b"")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    assert '"red"' in printed(["bash", "-c", code(seen, dialect, "curl")], tmp_path)
    python = str(python_of(_PYTHONS[dialect]))
    needs = seen.page.locator("[data-block=needs] code").text_content() or ""
    variables = dict(re.findall(r"^export (\w+)=(\S+)$", needs, re.MULTILINE))
    assert printed([python, "-c", code(seen, dialect, "python")], tmp_path, **variables).strip() == "red"
    assert seen.faults == []


def printed(command: list[str], place: Path, **variables: str) -> str:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(place), **variables}
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_code_is_kept_in_step_and_says_what_it_leaves_out(seen: Visit) -> None:
    page = seen.page
    page.locator("#code summary").click()
    block = page.locator("[data-block=code] code")
    page.locator("#prompt").fill("How many?")
    expect(block).to_contain_text("How many?")
    page.locator("#seed").fill("11")
    expect(block).to_contain_text("seed=11")
    page.locator("label[for=dialect-runware]").click()
    expect(page.locator("#code [data-note]")).to_contain_text("one picture")
    expect(page.locator("[data-block=code]")).to_be_hidden()
    choose(seen, "number")
    expect(block).to_contain_text("number.png")
    expect(page.locator("#code [data-note]")).to_contain_text("seed")
    expect(page.locator("[data-files] a")).to_have_attribute("href", f"{PATH}/examples/number.png")
    assert seen.faults == []
