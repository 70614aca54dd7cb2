"""A server with two keys before null replicas that keeps records, one for each module that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from predicting import Client
from servers import Running, null_models, serving
from uploads import KEYS, ONE, TWO

from triptych.server.app import Options


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = Options(keys=KEYS, most_body=1 << 20, most_upload=3 << 20, drain=2)
    with serving(null_models(), options=options, data=tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def one(server: Running) -> Client:
    return Client(server, ONE)


@pytest.fixture(scope="module")
def two(server: Running) -> Client:
    return Client(server, TWO)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server whose models take 0.3 s for a word."""
    with serving(null_models(delay=0.3), options=Options(drain=2), data=tmp_path_factory.mktemp("data")) as running:
        yield Client(running, {})
