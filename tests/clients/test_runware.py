"""Runware's own clients as they are, over WebSockets and HTTP, before a real model behind a key."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_environments import INSTALL, NODE_RUNWARE, node_of, python_of
from replicas import start_here
from servers import serving

from triptych.server.app import Options
from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.delivery.post import Poster
from triptych.server.names import ALIASES
from triptych.server.served import ModelSpec, ServedModel

ELSEWHERE = Path(__file__).with_name("elsewhere")
LONGEST = 240
KEY = "right-key"
LLAVA = "triptych/tiny-llava-1.6"
OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that wants a key, and that may send webhooks to this machine."""
    guard = Guard.allowing(["127.0.0.0/8"])
    fetcher = ImageFetcher(guard)
    models = [ServedModel(ModelSpec(LLAVA, LLAVA, ALIASES[LLAVA], OPTIONS), start_here)]
    data = tmp_path_factory.mktemp("data")
    with serving(
        models, fetcher.read, Options(drain=5, keys=(KEY,)), data=data, on_stop=fetcher.close,
        poster=Poster(guard, http=True),
    ) as server:  # fmt: skip
        yield server.url


def variables(url: str, pictures: Path) -> dict[str, str]:
    return {
        "TRIPTYCH_URL": url, "TRIPTYCH_KEY": KEY, "TRIPTYCH_PICTURES": str(pictures), "PATH": os.environ["PATH"],
        "HOME": str(pictures), "PYTHONPATH": str(ELSEWHERE), "NO_COLOR": "1",
    }  # fmt: skip


@pytest.mark.timeout(INSTALL + LONGEST + 30)
@pytest.mark.parametrize("client", ["runware", "runware-sdk"])
def test_python(client: str, keyed: str, pictures: Path) -> None:
    """Runs the client's own tests there; what they print is shown when one fails."""
    tests = ELSEWHERE / f"client_{client.replace('-', '_')}.py"
    options = ["-q", "-x", "-o", "asyncio_mode=auto", "-c", str(ELSEWHERE / "pytest.ini")]
    command = [str(python_of(client)), "-m", "pytest", *options, str(tests)]
    done = subprocess.run(
        command, env=variables(keyed, pictures), capture_output=True, text=True, timeout=LONGEST
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    ended = done.stdout.strip().splitlines()[-1]
    assert re.match(r"[1-9]\d* passed", ended), ended
    assert "skipped" not in ended


@pytest.mark.timeout(INSTALL + 150)
def test_node(keyed: str, pictures: Path) -> None:
    """The same for the client of Node."""
    node = node_of(NODE_RUNWARE)
    command = [node, "--test", "--test-reporter=tap", "runware.test.mjs"]
    done = subprocess.run(
        command, cwd=NODE_RUNWARE, env=variables(keyed, pictures), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    counts = dict(re.findall(r"^# (pass|fail|skipped|cancelled|todo) (\d+)$", done.stdout, re.MULTILINE))
    assert int(counts["pass"]) > 0
    assert [counts[name] for name in ("fail", "skipped", "cancelled", "todo")] == ["0"] * 4
