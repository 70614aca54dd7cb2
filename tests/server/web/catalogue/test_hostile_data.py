"""What the data, or an address, has in it is text on the pages, whatever it looks like."""

from __future__ import annotations

import pytest
from html_page import Page
from http_calls import call
from servers import null_models, serving

from triptych.catalogue.load import load, load_from
from triptych.catalogue.views import Views
from triptych.server.catalogue import Snapshot
from triptych.server.web.catalogue import words
from triptych.server.web.catalogue.model_page import model_page
from triptych.server.web.pages import render

ON = load().newest()
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
HOSTILE = f"""
[[claims]]
on = "evil"
field = "creator"
value = "{EVIL}"
source = "evil"
doubt = "{EVIL}"
about = "{EVIL}"
printed = "{EVIL}"

[[claims]]
on = "evil"
field = "brand_new"
value = ["{EVIL}"]
state = "derived"
formula = "{EVIL}"
source = "evil"

[[claims]]
on = "p/evil"
field = "gotcha.ids"
value = "`{EVIL}`"
source = "evil"

[[prices]]
route = "p/evil"
source = "evil"
input = "1.5"
note = "{EVIL}"

[[fields]]
route = "p/evil"
of = "request"
name = "{EVIL}"
type = "{EVIL}"
required = true
meaning = "{EVIL}"
source = "evil"

[[examples]]
route = "p/evil"
title = "{EVIL}"
label = "{EVIL}"
task = "{EVIL}"
image = "{EVIL}"
asks = "{EVIL}"
words = 1
cost = "1"
sources = ["evil"]

[[sources]]
id = "evil"
publisher = "{EVIL}"
title = "{EVIL}"
kind = "page"
seen = 2026-11-01
note = "{EVIL}"
url = "https://example.com/?{EVIL}"

[[families]]
id = "evil"
name = "{EVIL}"

[[models]]
id = "evil"
name = "{EVIL}"
family = "evil"
names = ["{EVIL} too"]
about = "{EVIL}"
best_for = ["{EVIL}"]
not_for = ["{EVIL}"]
related = ["evil"]

[[providers]]
id = "p"
name = "{EVIL}"

[[routes]]
id = "p/evil"
model = "evil"
provider = "p"
endpoint = "{EVIL}"
region = "{EVIL}"
names = ["{EVIL}"]
"""


def test_what_data_says_is_never_markup(tmp_path):
    (tmp_path / "evil.toml").write_text(HOSTILE)
    catalogue = load_from([tmp_path / "evil.toml"])
    snapshot = Snapshot(catalogue, Views(catalogue, ON), ("key",))
    html = render("catalogue/model.html", words=words, freshness=snapshot.views.freshness(), recipes=[],
                  **model_page(snapshot, catalogue.model("evil"), []))  # fmt: skip
    found = Page(html)
    assert not any(tag == "img" or "onerror" in attributes for tag, attributes in found.attributes)
    assert sum(tag == "script" for tag, _ in found.attributes) == sum("src" in each for tag, each in found.attributes)
    assert found.text.count(EVIL) > 15


@pytest.fixture(scope="module")
def server():
    with serving(null_models()) as running:
        yield running


def test_what_an_address_says_is_never_markup(server):
    for path in ("/app/models?q={}", "/app/compare?input={}&model={}", "/app/changes?since={}", "/app/models/{}",
                 "/app/providers/{}"):  # fmt: skip
        body = call(server.url, "GET", path.replace("{}", "%3Cimg%20src=x%20onerror=alert(1)%3E%22")).body.decode()
        assert "<img" not in body
        Page(body)
