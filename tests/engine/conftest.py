from collections.abc import Iterator

import pytest
from engines import Shelf

from triptych.engine.engine import Engine


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Small random checkpoints of every kind."""
    return Shelf(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def engine(shelf: Shelf) -> Iterator[Engine]:
    """A text model. Its books are checked after the test."""
    with shelf.open("llama") as engine:
        yield engine


@pytest.fixture
def seeing(shelf: Shelf) -> Iterator[Engine]:
    """A LLaVA 1.6. Its books are checked after the test."""
    with shelf.open("llava16") as engine:
        yield engine
