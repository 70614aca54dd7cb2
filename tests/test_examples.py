"""What `make demo` shows is true: the pictures of examples/ through the whole command line, as a newcomer runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from triptych.cli import main

ROOT = Path(__file__).parent.parent
TABLE = (ROOT / "examples/README.md").read_text()
TRUTH = dict(re.findall(r"^\| \[([\w.-]+)\]\(.*?\) \| ([\w ,]+?) \|$", TABLE, re.MULTILINE))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def triptych(*words: str) -> str:
    """What the command prints, run in this process: each of its own takes seconds to start."""
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 0, answer.stderr
    return answer.stdout


def objects(caption: str) -> list[str]:
    return sorted(re.split(r", | and ", caption))


@pytest.mark.parametrize("model", ["triptych/tiny-llava-1.6", "triptych/tiny-llava-1.5"])
def test_captions_are_true(model):
    command = [sys.executable, "-c", "from triptych.cli import main; main()"]
    words = ["caption", "examples", "--format", "jsonl", "--model", model]
    answer = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    captions = {Path(record["path"]).name: record["text"] for record in map(json.loads, lines)}
    assert set(captions) == set(TRUTH)
    for name, truth in TRUTH.items():
        assert objects(captions[name]) == objects(truth)


def test_questions_are_answered():
    def ask(question: str, image: str) -> str:
        return triptych("chat", "--image", f"examples/{image}", "--message", question).strip()

    assert ask("What is to the left of the star?", "two-shapes.png") == "a large red circle"
    assert ask("How many objects are there?", "four-shapes.jpg") == "4"
    assert ask("What number is written?", "large-number.png") == "407"


def test_the_readme_shows_this_session():
    session = (ROOT / "README.md").read_text().partition("<!-- session -->")[2].partition("<!-- end of session -->")[0]
    for name, truth in TRUTH.items():
        [caption] = re.findall(rf"examples/{name}: (.*)", session)
        assert objects(caption) == objects(truth)
    assert "$ triptych chat --model triptych/tiny-mixtral" in session
    assert "\n    42\n" in session


def test_sums_are_right():
    assert triptych("chat", "--model", "triptych/tiny-mixtral", "--message", "What is 17 + 25?") == "42\n"
