"""A playground in a browser, before the real embedded models and null ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Visit, visit
from playground_visit import EYE, PATH
from playwright.sync_api import Browser, expect
from replicas import start_here
from servers import serving, start_null

from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.names import ALIASES, NOTE
from triptych.server.served import ModelSpec, ServedModel, Waits

_OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20}


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the embedded models, and null ones: `slow` says a word each 50 ms, `sleepy` takes 2 s to load,
    `broken` does not.
    """
    models = [ServedModel(ModelSpec(name, name, ALIASES[name], _OPTIONS, NOTE), start_here) for name in ALIASES]
    null = {"slow": {"delay": 0.05}, "sleepy": {"load_seconds": 2}, "broken": {"fail": "the weights are of cheese"}}
    for name, options in null.items():
        models.append(ServedModel(ModelSpec(name, "null", (), options), start_null, waits=Waits(first=0.05)))
    fetcher = ImageFetcher(Guard.allowing([]))
    data = tmp_path_factory.mktemp("data")
    with serving(models, fetcher.read, data=data, on_stop=fetcher.close) as server:
        yield server.url


@pytest.fixture
def seen(chrome: Browser, url: str) -> Iterator[Visit]:
    """The playground with a model that sees, in a window of its own."""
    with visit(chrome, url) as opened:
        opened.go(f"{PATH}?model={EYE}")
        expect(opened.page.locator("#playground")).to_be_visible()
        yield opened
