"""A browser for the tests of this folder, and a server for those of a file. The browser is closed behind the last test
here: a loop that goes on running would keep tests of other folders from running theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from browser import browser
from playwright.sync_api import Browser
from servers import Running, null_models, serving, start_null

from triptych.server.app import Options
from triptych.server.names import ALIASES, NOTE
from triptych.server.served import ModelSpec, ServedModel, Waits

HERE = Path(__file__).parent
OPENED = pytest.StashKey[tuple[Browser, ExitStack]]()


@pytest.fixture
def chrome(request: pytest.FixtureRequest) -> Browser:
    stash = request.session.stash
    if OPENED not in stash:
        closing = ExitStack()
        stash[OPENED] = (closing.enter_context(browser()), closing)
    return stash[OPENED][0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """No scope of fixtures is that of a folder."""
    yield
    if (nextitem is None or HERE not in nextitem.path.parents) and OPENED in item.session.stash:
        _, closing = item.session.stash[OPENED]
        del item.session.stash[OPENED]
        closing.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An open server with everything it can keep, before null replicas: `eye`, `text`, and one under the name of the
    packaged model that sees, so that the catalogue has a model that is served.
    """
    tiny = "triptych/tiny-llava-1.6"
    named = ServedModel(ModelSpec(tiny, tiny, ALIASES[tiny], {}, NOTE), start_null, waits=Waits(first=0.05))
    data = tmp_path_factory.mktemp("site")
    with serving([*null_models(), named], data=data, options=Options(drain=1, data=data)) as running:
        yield running
