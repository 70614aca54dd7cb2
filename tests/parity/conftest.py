import pytest
from engines import Shelf


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Small random checkpoints of every kind."""
    return Shelf(tmp_path_factory.mktemp("checkpoints"))
