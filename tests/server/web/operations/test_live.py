"""What a page asks for while it is looked at, and what it gets."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from markupsafe import Markup

from triptych.server.exchange import Answer, Exchange
from triptych.server.web.operations import live
from triptych.server.web.operations.live import Part


def part(id: str, text: str, changing: bool = True) -> Part:
    return Part(id, Markup('<tr id="{}"><td>{}</td></tr>').format(id, text), changing)


def exchange(query: str = "") -> Exchange:
    async def nothing(*_: object) -> dict[str, object]:
        return {}

    scope = {"type": "http", "method": "GET", "path": "/x", "query_string": query.encode(), "headers": []}
    return Exchange(scope, nothing, nothing)


def query_of(html: str) -> str:
    """What the page asks next."""
    address = re.search(r'hx-get="([^"]*)"', html)
    return "" if address is None else urlsplit(address[1].replace("&amp;", "&")).query


def ask(parts: list[Part], query: str) -> Answer:
    asked = exchange(query)
    has = live.asked(asked)
    assert has is not None
    return live.changes(asked, "/x", [each for each in parts if each.id in has], has, "1s")


def test_nothing_is_sent_until_something_changes_and_then_that_alone() -> None:
    first = [part("a", "one"), part("b", "two"), part("c", "over", changing=False)]
    query = query_of(live.asking("/x", first, "1s"))
    assert set(parse_qs(query)) == {"seen"}
    assert ask(first, query).status == 204
    answer = ask([part("a", "one"), part("b", "2")], query)
    text = answer.body.decode()
    assert answer.status == 200
    assert '<template><tr id="b" hx-swap-oob="true"><td>2</td></tr></template>' in text
    assert 'id="a"' not in text
    assert ask([part("a", "one"), part("b", "2")], query_of(text)).status == 204


def test_it_stops_asking_once_nothing_can_change() -> None:
    query = query_of(live.asking("/x", [part("a", "one"), part("b", "two")], "1s"))
    text = ask([part("a", "one", changing=False), part("b", "three")], query).body.decode()
    assert "a." not in query_of(text)
    text = ask([part("b", "three", changing=False)], query_of(text)).body.decode()
    assert 'id="live"' in text
    assert "hx-get" not in text
    assert "hx-get" not in live.asking("/x", [part("a", "one", changing=False)], "1s")
    assert live.asking("/x", [], "1s").strip() == '<div id="live"></div>'


def test_what_is_gone_is_asked_for_no_more() -> None:
    query = query_of(live.asking("/x", [part("a", "one"), part("b", "two")], "1s"))
    text = ask([part("b", "two")], query).body.decode()
    assert "a." not in query_of(text)
    assert "b." in query_of(text)
    assert "hx-get" not in ask([], query).body.decode()


def test_hostile_words_for_what_a_page_has_come_to_nothing() -> None:
    assert live.asked(exchange()) is None
    for text in ("", "~~", "a", "a.b", "<script>.00000000", "a.0000000g", "x" * 100 + ".00000000", "%FF.00000000"):
        assert live.asked(exchange(f"seen={text}")) == {}
    many = "~".join(f"p-{number}.00000000" for number in range(10_000))
    assert len(live.asked(exchange(f"seen={many}")) or ()) == 200
