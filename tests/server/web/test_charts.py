"""Charts say the truth in shapes, in a table and in words, and let nothing in."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from html_page import Page

from triptych.server.web.charts import Bar, bars, columns, nice, plain

DAYS = [f"{day} Nov" for day in range(1, 31)]


def rects(html: str, kind: str) -> list[dict[str, float]]:
    found = [each for tag, each in Page(html).attributes if tag == "rect" and each.get("class") == kind and "x" in each]
    return [{name: float(each[name].rstrip("%")) for name in ("x", "y", "width", "height")} for each in found]


def test_columns_are_as_high_as_their_values_and_stand_on_each_other():
    html = columns("Spend", ["a", "b"], {"one": [1, 0], "two": [1, 4]}, show=lambda value: f"${value:g}")
    lower, upper = rects(html, "s1"), rects(html, "s2")
    assert len(lower) == 1  # nothing is drawn of nothing
    assert lower[0]["height"] * 4 == pytest.approx(upper[1]["height"])
    assert upper[0]["y"] + upper[0]["height"] == pytest.approx(lower[0]["y"])
    assert lower[0]["y"] + lower[0]["height"] == pytest.approx(188)
    assert upper[1]["x"] - upper[0]["x"] == pytest.approx(50)
    found = Page(html)
    assert found.parts["td"] == ["$1", "$1", "$2", "$0", "$4", "$4"]
    assert found.parts["li"] == ["one", "two"]
    assert "a: $2\none: $1\ntwo: $1" in html


@pytest.mark.parametrize("count", [1, 2, 7, 30, 90, 365])
def test_labels_of_days_never_touch_on_a_phone(count):
    days = [f"{day % 28 + 1} Nov" for day in range(count)]
    html = columns("Spend", days, {"one": [1.0] * count})
    labels = re.findall(r'<text x="([\d.]+)%" y="\d+" text-anchor="(\w+)">([^<]+)</text>', html)
    wide, room = 44, 260  # pixels of "28 Nov" in the chart's size, and of a plot on a phone
    spans = []
    for x, anchor, _ in labels:
        left = float(x) / 100 * room - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
        spans.append((left, left + wide))
    assert 1 <= len(spans) <= 4
    assert all(after[0] >= before[1] for before, after in pairwise(spans))
    assert spans[0][0] >= 0 or count == 1
    assert spans[-1][1] <= room or count == 1


def test_nothing_is_a_chart_too():
    assert Page(columns("Spend", [], {})).parts["th"] == ["Day"]
    html = columns("Spend", DAYS, {"one": [0.0] * 30})
    assert rects(html, "s1") == []
    assert Page(bars("Costs", [])).parts["td"] == [""]
    with pytest.raises(ValueError, match="value for each day"):
        columns("Spend", DAYS, {"one": [1.0]})


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (1, 1), (1.1, 2), (2.2, 2.5), (3, 5), (7, 10), (0.003, 0.005), (123456, 200000)]
)
def test_an_axis_ends_at_a_round_number_above(highest, top):
    assert nice(highest) == pytest.approx(top)


def test_bars_compare_and_are_a_table():
    html = bars("Costs", [Bar("cheap", 1, "$1", kind="best"), Bar("dear", 4, "$4", "note", href="/x?a=1&b=2")])
    widths = [float(each["width"].rstrip("%")) for tag, each in Page(html).attributes if each.get("class") == "of"]
    assert widths == [25, 100]
    found = Page(html)
    assert found.parts["td"] == ["", "", "$1", "", "$4"]
    assert found.links == ["/x?a=1&b=2"]


def test_what_others_wrote_is_text():
    evil = '<script>alert(1)</script>"\''
    html = columns(evil, [evil], {evil: [1], "b": [2]}, summary=evil, show=lambda _: evil) + bars(
        evil, [Bar(evil, 1, evil, evil, "", f"/{evil}")], (evil, evil)
    )
    assert "<script" not in html
    assert not any(tag == "script" for tag, _ in Page(html).attributes)
    assert "style=" not in html


def test_numbers_are_as_people_write_them():
    assert [plain(value) for value in (0, 12345.0, 0.25, 1234.5)] == ["0", "12,345", "0.25", "1,234.50"]
