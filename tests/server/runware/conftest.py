"""Servers before null replicas: `eye` and `text`, and `slow`, whose words take a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers import Running, null_models, serving, start_null
from uploads import KEYS

from triptych.server.accounts.cost import Price, part
from triptych.server.app import Options
from triptych.server.delivery.fetch import FetchLimits, ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.delivery.post import Poster
from triptych.server.served import ModelSpec, ServedModel, Waits

# What Runware charges for a caption.
PRICE = Price((part("caption", 1_900_000),))
LOCAL = Guard.allowing(["127.0.0.0/8"])


@contextmanager
def started(
    data: Path, guard: Guard = LOCAL, delay: float = 0.15, wordless: bool = False, **options: Any
) -> Iterator[Running]:
    """A server that keeps what it has in `data`, and may fetch from this machine. Of a `wordless` one `eye` says
    nothing.
    """
    most_waiting = options.pop("most_waiting", 256)
    options = {"drain": 2, "own_prices": {"eye": PRICE, "slow": PRICE}} | options
    slow = ModelSpec("slow", "null", (), {"delay": delay})
    models = [*null_models(wordless=wordless), ServedModel(slow, start_null, waits=Waits(first=0.05))]
    fetcher = ImageFetcher(guard, FetchLimits(seconds=5))
    with serving(
        models, fetcher.read, Options(**options), most_waiting, data, on_stop=fetcher.close,
        poster=Poster(guard, http=True, seconds=2),
    ) as running:  # fmt: skip
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Without keys."""
    with started(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With the keys of `uploads.KEYS`."""
    with started(tmp_path_factory.mktemp("data"), keys=KEYS) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., AbstractContextManager[Running]]:
    """Starts a server with options of its own; always on the same data."""
    return lambda **options: started(tmp_path / "data", **options)
