"""The index leads where trying every route would have led."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import no_fetch, null_models
from starlette.routing import Match, Route, Router

from triptych.server.app import App, Options
from triptych.server.metrics import Metrics
from triptych.server.records import open_records
from triptych.server.router import Router as Models
from triptych.server.routing import IndexedRouter
from triptych.server.service import Service


async def _nothing(scope: Any, receive: Any, send: Any) -> None: ...


PATHS = ["/", "/v1/a", "/v1/{x}", "/v1/a/{x}", "/v1/{x:path}/b", "/{x}", "/{x}/{y}", "/v1/a/b", "/w/{x:int}", "/v1"]
PARTS = st.sampled_from(["v1", "a", "b", "w", "7", "", "zz"])


def chosen(router: Router, candidates: Any, scope: dict[str, Any]) -> Any:
    fits = None
    for route in candidates:
        match, child = route.matches(scope)
        if match is Match.FULL:
            return route, child
        if match is Match.PARTIAL and fits is None:
            fits = route, child
    return fits


@given(
    st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(["GET", "POST"])), max_size=12),
    st.lists(PARTS, max_size=4),
    st.sampled_from(["GET", "POST", "PUT"]),
)
def test_the_same_route_is_chosen(table, parts, method):
    routes = [Route(path, _nothing, methods=[verb]) for path, verb in table]
    router = IndexedRouter(routes)
    path = "/" + "/".join(parts)
    scope = {"type": "http", "path": path, "method": method, "root_path": ""}
    assert chosen(router, router.candidates(path), scope) == chosen(router, routes, scope)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/models/a/b", "/health", "/no/such/thing"])
async def test_few_of_the_servers_routes_are_tried(tmp_path: Path, path: str):
    records = await open_records(tmp_path)
    app = App(Service(Models(null_models()), no_fetch, Metrics()), Options(), records.close, records)
    router = app._starlette.router
    assert isinstance(router, IndexedRouter)
    assert len(router.routes) > 100
    assert len(router.candidates(path)) < 25
    await records.close()
