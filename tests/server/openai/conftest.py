"""A server before null replicas, one for each module that asks for it."""

from collections.abc import Iterator

import pytest
from servers import Running, null_models, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(null_models()) as running:
        yield running
