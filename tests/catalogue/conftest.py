"""The packaged catalogue on a fixed day, and small catalogues written for a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_catalogue import BASE, ON

from triptych.catalogue.catalogue import Catalogue
from triptych.catalogue.load import load, load_from


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return load(on=ON)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Catalogue]:
    """A catalogue of `BASE` and of what is given after it, each text a file."""

    def make(*texts: str, base: str = BASE) -> Catalogue:
        files = []
        for number, text in enumerate((base, *texts)):
            path = tmp_path / f"{number}.toml"
            path.write_text(text)
            files.append(path)
        return load_from(files, ON)

    return make
