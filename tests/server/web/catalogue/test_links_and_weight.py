"""Every page that can be reached is there and light; on a server with keys the catalogue is for those who have one."""

from __future__ import annotations

import gzip
from urllib.parse import urljoin, urlsplit

import pytest
from html_page import Page
from http_calls import call
from servers import null_models, serving, start_null

from triptych.catalogue.load import load
from triptych.server.app import Options
from triptych.server.served import ModelSpec, ServedModel

# Bytes of a page with all that it loads, as it crosses to a browser that has nothing of it.
HEAVIEST = 150_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    tiny = ServedModel(ModelSpec("mine", "triptych/tiny-llava-1.6", ("other/name",), {}), start_null)
    data = tmp_path_factory.mktemp("data")
    with serving([*null_models(), tiny], data=data, options=Options(drain=1, data=data)) as running:
        yield running


def test_all_links_lead_somewhere_and_no_page_is_heavy(server):
    """From the front page through everything that can be reached: each address is answered, and each page, with what
    it loads, is light.
    """
    waiting, seen, sizes = ["/"], {"/"}, {}
    loaded: dict[str, int] = {}
    while waiting:
        path = waiting.pop()
        reply = call(server.url, "GET", path, headers={"accept": "text/html", "accept-encoding": "gzip"})
        assert reply.status == 200, path
        if not reply.headers.get("content-type", "").startswith("text/html"):
            continue
        whole = gzip.decompress(reply.body) if "content-encoding" in reply.headers else reply.body
        page = Page(whole.decode())
        for address in page.loads:
            if address not in loaded:
                loaded[address] = len(call(server.url, "GET", address, headers={"accept-encoding": "gzip"}).body)
        sizes[path] = len(reply.body) + sum(loaded[address] for address in page.loads)
        for link in page.links:
            target = urlsplit(urljoin(path, link))
            if target.netloc:
                assert target.scheme == "https"
                continue
            address = target.path + (f"?{target.query}" if target.query else "")
            if address not in seen:
                seen.add(address)
                waiting.append(address)
    catalogue = load()
    assert {f"/app/models/{id}" for id in catalogue.models} <= seen
    assert {f"/app/providers/{id}" for id in catalogue.providers} <= seen
    assert {"/app/compare", "/app/changes", "/reference"} <= seen
    assert {path: size for path, size in sizes.items() if size > HEAVIEST} == {}


def test_pages_of_a_server_with_keys_ask_for_one():
    with serving(null_models(), options=Options(drain=1, keys=("secret",))) as server:
        for path in ("/app/models", "/app/models/mixtral-8x7b", "/app/providers", "/app/compare", "/app/changes"):
            reply = call(server.url, "GET", path)
            assert reply.status == 401
            assert "Sign in" in Page(reply.body.decode()).text
            assert call(server.url, "GET", path, headers={"authorization": "Bearer secret"}).status == 200
