"""Every fact of the source pages stands on the page of its model, and what is not sourced says so."""

from __future__ import annotations

import html as entities
import re

import pytest
import source_facts as facts
from html_page import Page, plain
from http_calls import call
from servers import null_models, serving

from triptych.catalogue.units import UNITS
from triptych.server.web.catalogue.words import LABELS, MARKET, ROUTE_LABELS

NOT_SOURCED = "Not sourced"


@pytest.fixture(scope="module")
def read():
    """The page of a model or provider, read once."""
    pages: dict[str, Page] = {}
    with serving(null_models()) as server:

        def page(path: str) -> Page:
            if path not in pages:
                reply = call(server.url, "GET", path.replace(" ", "%20"))
                assert reply.status == 200
                pages[path] = Page(reply.body.decode())
            return pages[path]

        yield page


def beside(page: Page, field: str) -> str:
    """What stands beside a field's name: under specifications, of the family, or of a route."""
    label = {**LABELS, **MARKET, **ROUTE_LABELS}.get(field, "")
    return " ".join([page.facts[label], page.facts[f"{label} (family)"]])


def written(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else plain(str(value).replace("\n", ""))


@pytest.mark.parametrize(("page", "model", "field", "value"), facts.CLAIMS)
def test_a_claim_stands_beside_its_name(read, page, model, field, value):
    found = read(f"/app/models/{model}")
    if field.startswith("gotcha."):
        assert written(value) in found.text
        return
    told = beside(found, field)
    wanted = NOT_SOURCED if value == facts.NOT_SOURCED else written(value)
    assert wanted in told
    assert page.publisher in told
    if page.date is not None:
        assert f"{page.publisher}, {page.date}" in told


@pytest.mark.parametrize(("page", "model", "provider", "endpoint", "prices"), facts.PRICES)
def test_prices_stand_with_their_source(read, page, model, provider, endpoint, prices):
    wanted = [f"{UNITS[unit].label}: {shown(price)}" for unit, price in prices.items()]
    date = page.date or "undated"
    found = observations(read, model, provider)
    assert any(all(each in line for each in wanted) and f"{page.publisher}, {date}" in line for line in found)


@pytest.mark.parametrize(("publisher", "model", "provider", "put_in", "put_out"), facts.OTHER_PRICES)
def test_other_sources_are_kept_beside_them(read, publisher, model, provider, put_in, put_out):
    name = {"Pydantic": "genai-prices 0.2.3", "BerriAI": "LiteLLM 1.109.1"}.get(publisher, publisher)
    wanted = f"input / 1M: {shown(put_in)}, output / 1M: {shown(put_out)}"
    assert any(wanted in line and f"{name}, " in line for line in observations(read, model, provider))


def shown(price: str) -> str:
    return NOT_SOURCED if price == facts.NOT_SOURCED else f"${price}"


def observations(read, model: str, provider: str) -> list[str]:
    """Every observation of a provider's prices on the page of a model, as it can be read."""
    html = read(f"/app/models/{model}").html
    found = []
    for part in html.split('<details class="more route"')[1:]:
        head, _, rest = part.partition("</summary>")
        listed = rest.partition('<ul class="observed">')[2].partition("</ul>")[0]
        if f"<strong>{provider}" in entities.unescape(head):
            found += [plain(entities.unescape(re.sub(r"<[^>]+>", "", line))) for line in listed.split("<li>")[1:]]
    return found


def test_boxes_say_what_is_not_sourced(read):
    text = read("/app/models/llava-1.6-mistral-7b").text
    assert "Cache read / 1M Not sourced LLM Reference, 2026-04-19" in text
    assert "Batch input / 1M Not sourced LLM Reference, 2026-04-19" in text
    assert "per caption $0.0019 for 80 to 100 output tokens · Runware, undated" in text


def test_runwares_parameters_and_examples_are_complete(read):
    page = read("/app/models/runware:150@2")
    for name, kind, required, default, values in facts.REQUEST:
        wanted = [f"{name}{'required' if required else ''}", kind, default or "", values]
        assert all(each in page.text for each in wanted if each != wanted[0])
        assert wanted[0] in [plain(each) for each in page.parts["th"]]
    assert {name for name, _ in facts.RESPONSE} <= {plain(each).removesuffix("required") for each in page.parts["th"]}
    code = " ".join(page.parts["pre"])
    for title, label, task, file, words in facts.EXAMPLES:
        assert any(title in each and label in each for each in page.parts["summary"])
        assert code.count(task) == 2
        assert file in code
        assert f"{words} words" in page.text
    assert code.count('"cost": 0.0019') == 4


def test_both_sides_of_a_contradiction_are_there(read):
    llava = read("/app/models/llava-1.6-mistral-7b")
    assert {"2024-01-31", "2024-01-30"} <= set(re.findall(r"\d{4}-\d\d-\d\d", beside(llava, "released")))
    assert "Doubtful" in beside(llava, "openness")
    mixtral = read("/app/models/mixtral-8x7b")
    assert all(each in beside(mixtral, "knowledge_cutoff") for each in ("2023-12", "2024-01", "2023-09"))
    assert "sources differ" in beside(mixtral, "knowledge_cutoff")
    assert "8 x 7 is 56" in beside(mixtral, "parameters")


def test_every_source_that_is_named_is_listed(read):
    for path in ("/app/models/mixtral-8x7b", "/app/models/llava-1.6-mistral-7b", "/app/providers/replicate",
                 "/app/compare?model=mixtral-8x7b&input=1M", "/app/changes?since=2026-05-01"):  # fmt: skip
        page = read(path)
        named = {link for link in page.links if link.startswith("#source-")}
        assert named
        assert {link[1:] for link in named} <= set(page.ids)
