"""The list of predictions: all of them, each once, and by filters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from http_calls import call
from page_calls import assert_nothing_runs, links, page, read, text_of
from prediction_page import LIST, any_picture, asked, captioned
from servers import Running, null_models, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database: str | None) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("data")
    with serving(null_models(), any_picture, data=data, database=database) as running:
        yield running


def test_pages_of_the_list_have_each_prediction_once(server: Running) -> None:
    for _ in range(51):
        asked(server, "x", wait=False)
    path, seen, sizes = LIST, [], []
    while path:
        html = page(server.url, path)
        found = [link.rpartition("/")[2] for link in links(html) if link.startswith(f"{LIST}/")]
        seen += found
        sizes.append(len(found))
        path = next((told["href"] or "" for _, told in read(html)[0] if told.get("rel") == "next"), "")
    assert sizes[:2] == [25, 25]
    assert len(sizes) > 2
    kept = call(server.url, "GET", "/triptych/v1/predictions?limit=1000").json["predictions"]
    assert seen == [each["id"] for each in kept]


def test_no_predictions_at_all(tmp_path: Path) -> None:
    with serving(null_models(), data=tmp_path) as server:
        assert "No predictions yet" in text_of(page(server.url, LIST))


def test_the_list_has_every_api_and_what_became_of_it(server: Running) -> None:
    mine, theirs = asked(server, "alpha beta")["id"], captioned(server)
    html = page(server.url, LIST)
    assert_nothing_runs(html)
    text = text_of(html)
    assert mine in text
    assert theirs in text
    assert "Replicate" in text
    assert "Runware" in text
    assert {f"{LIST}/{mine}", f"{LIST}/{theirs}"} <= set(links(html))


def test_filters(server: Running) -> None:
    mine, theirs = asked(server)["id"], captioned(server)
    cases: dict[str, tuple[set[str], set[str]]] = {
        "dialect=replicate": ({mine}, {theirs}), "dialect=runware": ({theirs}, {mine}),
        "status=succeeded": ({mine, theirs}, set()), "status=failed": (set(), {mine, theirs}),
        "model=eye": ({mine, theirs}, set()), "model=text": (set(), {mine, theirs}),
        f"text={mine[8:]}": ({mine}, {theirs}), f"text={theirs}": ({theirs}, {mine}),
        "text=zzzzzz": (set(), {mine, theirs}),
    }  # fmt: skip
    for query, (there, not_there) in cases.items():
        found = {link.rpartition("/")[2] for link in links(page(server.url, f"{LIST}?{query}"))}
        assert there <= found, query
        assert not found & not_there, query
    assert "None of them" in text_of(page(server.url, f"{LIST}?status=failed&text=zz"))


@pytest.mark.parametrize("query", ["status=nonsense", "before=%3Cb%3E", "text=%3Cscript%3E", "dialect=x", "before=a-b"])
def test_filters_that_are_none(server: Running, query: str) -> None:
    html = page(server.url, f"{LIST}?{query}", 400)
    assert "cannot be looked for" in text_of(html)
    assert_nothing_runs(html)
