"""Writes requirements.lock and requirements-dev.lock from what is installed: `make lock`.

Change a range in pyproject.toml, install it into .venv, run the tests, then this.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
BUILD = ["hatchling", "editables"]  # installing the project itself, without fetching a builder of the day

RUNTIME_HEAD = """\
# What `make demo` installs: Triptych's runtime dependencies and everything they need, at the versions it was tested
# with, and the build backend. Written by tools/lock.py. Exact versions without hashes: torch has several builds of one
# version (CPU only, CUDA), each with a hash of its own, and any of them will do. torch is asked for exactly; a range
# could bring another one with gigabytes of CUDA along.
"""
DEV_HEAD = """\
# What `make test` installs beside requirements.lock: tests, lint, types, and transformers as the oracle.
# Written by tools/lock.py.
-r requirements.lock
"""


def closure(roots: list[str]) -> dict[str, str]:
    """Name to version of `roots` and all they need on this platform; local build tags are left out."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = list(roots)
    while todo:
        requirement = Requirement(todo.pop())
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found = distribution(name)
            versions[name] = found.version.partition("+")[0]
            todo.extend(text for text in found.requires or [] if _wanted(Requirement(text), extra))
    return versions


def _wanted(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def lines(versions: dict[str, str]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime = closure(project["dependencies"] + BUILD)
    dev = closure(project["dependencies"] + project["optional-dependencies"]["dev"])
    added = {name: version for name, version in dev.items() if name not in runtime}
    (ROOT / "requirements.lock").write_text(RUNTIME_HEAD + lines(runtime))
    (ROOT / "requirements-dev.lock").write_text(DEV_HEAD + lines(added))


if __name__ == "__main__":
    main()
