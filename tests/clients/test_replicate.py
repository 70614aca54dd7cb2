"""Replicate's own clients as they are, before the embedded models behind keys; what they answer has to be true."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_environments import INSTALL, NODE, node_of, python_of
from replicas import start_here
from servers import serving, start_null

from triptych.server.app import Options
from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.delivery.post import Poster
from triptych.server.names import ALIASES
from triptych.server.served import ModelSpec, ServedModel, Waits

ELSEWHERE = Path(__file__).with_name("elsewhere")
SUPPORT = Path(__file__).parents[1] / "support"
LONGEST = 240
OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20}
# What they say is what they are asked; seconds for a word.
ECHOES = {"echo/quick": 0.0, "echo/slow": 0.3}
# A key for each program: what it lists is its own.
KEYS = {client: f"r8_{client.replace('_', '-')}" for client in ("replicate", "replicate_next", "one_port", "node")}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that wants a key, and that may send webhooks to this machine. Models: the embedded ones
    and `ECHOES`.
    """
    guard = Guard.allowing(["127.0.0.0/8"])
    fetcher = ImageFetcher(guard)
    models = [ServedModel(ModelSpec(name, name, ALIASES[name], OPTIONS), start_here) for name in ALIASES]
    for name, delay in ECHOES.items():
        spec = ModelSpec(name, "null", (), {"delay": delay, "vision": False})
        models.append(ServedModel(spec, start_null, waits=Waits(first=0.05)))
    with serving(
        models, fetcher.read, Options(drain=5, keys=tuple(KEYS.values()), preload=tuple(models)),
        data=tmp_path_factory.mktemp("data"), on_stop=fetcher.close, poster=Poster(guard, http=True),
    ) as server:  # fmt: skip
        yield server.url


def variables(url: str, key: str, pictures: Path) -> dict[str, str]:
    """What a program finds: of Replicate and OpenAI what a user of this server sets, of the test where things are."""
    return {
        "REPLICATE_BASE_URL": url, "REPLICATE_API_TOKEN": key, "REPLICATE_POLL_INTERVAL": "0.1",
        "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": key,
        "TRIPTYCH_URL": url, "TRIPTYCH_PICTURES": str(pictures), "PATH": os.environ["PATH"], "HOME": str(pictures),
        "PYTHONPATH": str(SUPPORT), "NO_COLOR": "1",
    }  # fmt: skip


@pytest.mark.timeout(INSTALL + LONGEST + 30)
@pytest.mark.parametrize(
    ("environment", "client"),
    [("replicate", "replicate"), ("replicate-next", "replicate_next"), ("replicate", "one_port")],
)
def test_python(environment: str, client: str, keyed: str, pictures: Path) -> None:
    """Runs the client's own tests there; what they print is shown when one fails."""
    # One loop for all tests, since a client keeps its connections.
    loop = ["-o", "asyncio_default_test_loop_scope=session", "-o", "asyncio_default_fixture_loop_scope=session"]
    options = ["-q", "-x", "-o", "asyncio_mode=auto", *loop, "-c", str(ELSEWHERE / "pytest.ini")]
    command = [str(python_of(environment)), "-m", "pytest", *options, str(ELSEWHERE / f"client_{client}.py")]
    told = variables(keyed, KEYS[client], pictures)
    done = subprocess.run(command, env=told, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    ended = done.stdout.strip().splitlines()[-1]
    assert re.match(r"[1-9]\d* passed", ended), ended
    assert "skipped" not in ended


@pytest.mark.timeout(INSTALL + 150)
def test_node(keyed: str, pictures: Path) -> None:
    """The same for the clients of Node."""
    node = node_of()
    command = [node, "--test", "--test-reporter=tap", "replicate.test.mjs"]
    told = variables(keyed, KEYS["node"], pictures)
    done = subprocess.run(command, cwd=NODE, env=told, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    counts = dict(re.findall(r"^# (pass|fail|skipped|cancelled|todo) (\d+)$", done.stdout, re.MULTILINE))
    assert int(counts["pass"]) > 0
    assert [counts[name] for name in ("fail", "skipped", "cancelled", "todo")] == ["0"] * 4
