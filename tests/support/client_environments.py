"""Environments of their own for third-party clients, made on demand from pinned lists, for Python and Node.

They lie in `.venv-clients` (git-ignored) and are made once for each content of their requirements; that takes a minute
or two and a package index. Where one cannot be made its tests are skipped with the reason, or fail if `CI` is set.
`python tests/support/client_environments.py` makes them all: a run of all tests begins with it in the background, and
has the tests that need them at its end.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv-clients"
CLIENTS = ROOT / "tests" / "clients"
NODE = CLIENTS / "node"
NODE_RUNWARE = CLIENTS / "node-runware"
NODE_AXE = CLIENTS / "node-axe"
# Seconds that an installation may take.
INSTALL = 1200
# The first Python that cannot import what is in an environment.
TOO_NEW = {"replicate": (3, 14)}


class UnmadeError(Exception):
    """An environment could not be made; the text says why."""


def python_of(name: str) -> Path:
    """The interpreter with what `requirements-NAME.txt` lists. Skips the test, or fails it in CI, if that cannot be; a
    Python that the clients there are not made for is a reason to skip in CI too.
    """
    if name in TOO_NEW and sys.version_info >= TOO_NEW[name]:
        pytest.skip(f"what requirements-{name}.txt lists is for Python before {TOO_NEW[name][0]}.{TOO_NEW[name][1]}")
    try:
        return _made_python(name)
    except UnmadeError as error:
        _unavailable(f"the environment of {name} cannot be made: {error}")


def node_of(folder: Path = NODE) -> str:
    """Node, with what `package-lock.json` in `folder` lists beside the scripts there. Skips or fails like `python_of`;
    a Node that is not there at all is a reason to skip in CI too.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    try:
        _made_node(npm, folder)
    except UnmadeError as error:
        _unavailable(f"the packages for Node cannot be installed: {error}")
    return node


def command_of(name: str) -> str:
    """A program of the command line. Skips the test, or fails it in CI, if it is not installed."""
    found = shutil.which(name)
    if found is None:
        _unavailable(f"{name} is not installed")
    return str(found)


def _made_node(npm: str, folder: Path) -> None:
    with _locked(folder.name):
        lock = (folder / "package-lock.json").read_text()
        if not _stamped(folder / "node_modules" / ".triptych", lock):
            _run([npm, "ci", "--no-audit", "--no-fund"], folder)
            (folder / "node_modules" / ".triptych").write_text(lock)


def _made_python(name: str) -> Path:
    folder = HOME / name
    python = folder / "bin" / "python"
    requirements = CLIENTS / f"requirements-{name}.txt"
    wanted = f"{sys.version}\n{requirements.read_text()}"
    with _locked(name):
        if not _stamped(folder / "made", wanted):
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], ROOT)
            pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install"]
            # Everything is listed: there is nothing to resolve. What is imported is compiled then; most never is.
            _run([*pip, "--quiet", "--no-compile", "--no-deps", "-r", str(requirements)], ROOT)
            (folder / "made").write_text(wanted)
    return python


def _stamped(stamp: Path, wanted: str) -> bool:
    return stamp.is_file() and stamp.read_text() == wanted


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """One maker at a time, over all processes."""
    HOME.mkdir(exist_ok=True)
    with open(HOME / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL)
    except subprocess.TimeoutExpired:
        raise UnmadeError(f"{command[0]} did not end in {INSTALL} s") from None
    if done.returncode:
        raise UnmadeError((done.stderr or done.stdout).strip()[-2000:])


def _unavailable(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def make_all() -> None:
    """Every environment there is. One that cannot be made is left to the tests that need it: they say why."""
    for requirements in sorted(CLIENTS.glob("requirements-*.txt")):
        with suppress(UnmadeError):
            _made_python(requirements.stem.removeprefix("requirements-"))
    npm = shutil.which("npm")
    for folder in (NODE, NODE_RUNWARE, NODE_AXE):
        if npm is not None:
            with suppress(UnmadeError):
                _made_node(npm, folder)


if __name__ == "__main__":
    os.nice(5)
    make_all()
