"""The lock files hold exact versions that satisfy pyproject.toml, and the set-up asks for nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import triptych

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith(("#", "-r ")))


def test_every_line_is_an_exact_version():
    for name in ("requirements.lock", "requirements-dev.lock"):
        for line in (ROOT / name).read_text().splitlines():
            assert line.startswith(("#", "-r requirements.lock")) or re.fullmatch(r"[\w.-]+==[\w.]+", line), line


@pytest.mark.parametrize(
    ("requirements", "locks"),
    [
        (PROJECT["dependencies"], ["requirements.lock"]),
        (PROJECT["optional-dependencies"]["dev"], ["requirements.lock", "requirements-dev.lock"]),
    ],
)
def test_the_locks_satisfy_the_project(requirements, locks):
    pinned = {name: version for lock in locks for name, version in pins(lock).items()}
    for requirement in map(Requirement, requirements):
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier


def test_torch_is_asked_for_exactly():
    [torch] = [requirement for requirement in PROJECT["dependencies"] if requirement.startswith("torch")]
    assert torch == f"torch=={pins('requirements.lock')['torch']}"


def test_the_oracle_is_no_runtime_dependency():
    assert not {"transformers", "scikit-learn"} & set(pins("requirements.lock"))


def test_versions_agree():
    assert PROJECT["version"] == triptych.__version__
