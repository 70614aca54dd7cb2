"""What test_other_clients.py tells of the server that it started, for tests that run where it cannot be imported."""

import base64
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

LLAVA, MIXTRAL = "triptych/tiny-llava-1.6", "triptych/tiny-mixtral"


@dataclass(frozen=True)
class Drawn:
    """A picture of one object that fills much of it."""

    color: str
    shape: str
    file: Path

    @property
    def data_uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.file.read_bytes()).decode()}"

    @property
    def question(self) -> str:
        return f"What color is the {self.shape}?"


@pytest.fixture(scope="session")
def url() -> str:
    """The base URL of OpenAI's dialect. Models: the embedded ones, and `dying`, whose answers break off."""
    return os.environ["TRIPTYCH_URL"] + "/v1"


FILES = sorted(Path(os.environ["TRIPTYCH_PICTURES"]).glob("*.png"))


def drawing(file: Path) -> Drawn:
    color, shape = file.stem.split("-")
    return Drawn(color, shape, file)


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def drawn(request) -> Drawn:
    return drawing(request.param)


@pytest.fixture(scope="session")
def one() -> Drawn:
    """One of them, where it does not matter which."""
    return drawing(FILES[0])


@pytest.fixture(scope="session")
def llava() -> str:
    return LLAVA


@pytest.fixture(scope="session")
def mixtral() -> str:
    return MIXTRAL


@pytest.fixture(scope="session")
def too_long() -> str:
    """A text that no embedded model has room for."""
    return "1 + 1 " * 5000
