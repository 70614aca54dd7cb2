"""What docs/replicate.md prints is what happens, with the unmodified clients and a server without keys."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from client_environments import INSTALL, NODE, ROOT, node_of, python_of
from servers import serving

from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.router import embedded_specs
from triptych.server.served import ServedModel

DOCUMENT = (ROOT / "docs" / "replicate.md").read_text()
# In the document.
ADDRESS = "http://127.0.0.1:8000"
LONGEST = 120


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


def promised(code: str, sign: str) -> list[str]:
    """What a program prints, by the comments behind its lines."""
    return re.findall(rf" {sign} (.+)$", code, re.MULTILINE)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    fetcher = ImageFetcher(Guard.allowing([]))
    models = [ServedModel(spec) for spec in embedded_specs()]
    with serving(models, fetcher.read, data=tmp_path_factory.mktemp("data"), on_stop=fetcher.close) as server:
        yield server.url


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder from which the pictures are where the document says."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def printed(command: Sequence[str], place: Path, **variables: str) -> str:
    found = {"PATH": os.environ["PATH"], "HOME": str(place), **variables}
    done = subprocess.run(command, cwd=place, env=found, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.timeout(INSTALL + LONGEST + 30)
@pytest.mark.parametrize("environment", ["replicate", "replicate-next"])
def test_the_python_of_the_document(environment: str, url: str, place: Path) -> None:
    [code] = blocks("python")
    [export] = [each for each in blocks("sh") if each.startswith("export ")]
    assert ADDRESS in export
    variables = dict(re.findall(r"(\w+)=(\S+)", export.replace(ADDRESS, url)))
    said = printed([str(python_of(environment)), "-c", code], place, **variables)
    assert promised(code, "#") == ["red", "42"]
    assert [line.strip() for line in said.splitlines()] == promised(code, "#")


@pytest.mark.timeout(INSTALL + LONGEST + 30)
def test_the_javascript_of_the_document(url: str, place: Path) -> None:
    node = node_of()
    (place / "node_modules").symlink_to(NODE / "node_modules")
    [code] = blocks("js")
    assert ADDRESS in code
    said = printed([node, "--input-type=module", "-e", code.replace(ADDRESS, url)], place)
    assert said.splitlines() == promised(code, "//") == ["red"]


def test_the_command_of_the_document(url: str, place: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    [command] = [each for each in blocks("sh") if each.startswith("curl ")]
    assert ADDRESS in command
    answer = json.loads(printed(["sh", "-c", command.replace(ADDRESS, url)], place))
    [output] = re.findall(r'`"output":(\[.*?\])`', DOCUMENT)
    assert (answer["status"], answer["error"]) == ("succeeded", None)
    assert answer["output"] == json.loads(output) == ["red"]


def test_nothing_else_is_printed_as_code() -> None:
    """Whatever is added to the document is run here, or stands in another form."""
    assert re.findall(r"^```(\w+)$", DOCUMENT, re.MULTILINE) == ["sh", "python", "js", "sh"]
    outside = re.sub(r"^```.*?^```$", "", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"^ {4}\S", outside, re.MULTILINE)
