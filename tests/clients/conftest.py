"""A server with the embedded models for third-party clients, and pictures to ask it about."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import client_environments
import pytest
from one_object import write_all
from replicas import start_here
from servers import serving, start_null

from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.names import ALIASES
from triptych.server.served import ModelSpec, ServedModel, Waits

# Run where their clients are: by test_other_clients.py, test_lm_eval.py, test_node_clients.py, test_replicate.py and
# test_runware.py.
collect_ignore = ["elsewhere", "node", "node-axe", "node-runware"]

HERE = Path(__file__).parent
# They take half a minute each and more, much of it waiting: none shall be what is left for one worker at the end.
LONGEST = ("test_runware.py", "test_replicate.py", "test_other_clients.py", "test_recipes.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run these tests last, the longest first, and make their environments in the meantime."""
    last = [item for item in items if HERE in item.path.parents]
    last.sort(key=lambda item: item.path.name not in LONGEST)
    first = [item for item in items if HERE not in item.path.parents]
    items[:] = [*first, *last]
    if first and last and os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0" and not config.option.collectonly:
        config.stash[MAKER] = subprocess.Popen([sys.executable, client_environments.__file__])


def pytest_unconfigure(config: pytest.Config) -> None:
    if (maker := config.stash.get(MAKER, None)) is not None:
        maker.terminate()
        maker.wait()


MAKER = pytest.StashKey[subprocess.Popen[bytes]]()
OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20}


@pytest.fixture(scope="package")
def served() -> Iterator[str]:
    """The address of a server with the three embedded models, and `dying`: a replica that always dies after its second
    word.
    """
    models = [ServedModel(ModelSpec(name, name, ALIASES[name], OPTIONS), start_here) for name in ALIASES]
    dying = ModelSpec("dying", "null", (), {"die_after": 2, "delay": 0.05})
    models.append(ServedModel(dying, start_null, waits=Waits(first=0.05)))
    fetcher = ImageFetcher(Guard.allowing([]))
    with serving(models, fetcher.read, on_stop=fetcher.close) as server:
        yield server.url


@pytest.fixture(scope="package")
def pictures(tmp_path_factory) -> Path:
    """A folder with pictures named `red-circle.png`."""
    folder = tmp_path_factory.mktemp("pictures")
    write_all(folder)
    return folder
