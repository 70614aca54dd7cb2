"""Charts that the server draws: SVG and tables, without a style attribute or a script.

What is wide is told in percent of the room there is, so that bars grow with the page and text keeps its size. Every
chart is a figure that also says its numbers as a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

Show = Callable[[float], str]

_HEIGHT = 180
# Above the highest column, and below the axis for its labels.
_ABOVE, _BELOW = 8, 22
# Labels that fit side by side on a phone.
_MOST_LABELS = 4
_COLOURS = 8
_SLOT = 0.76


def plain(value: float) -> str:
    """A number as people write it: 12,345 or 0.25."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def columns(
    title: str, days: Sequence[str], series: Mapping[str, Sequence[float]], show: Show = plain, summary: str = ""
) -> Markup:
    """Columns side by side, one for each of `days`, stacked of `series`: the values of each by its name, as many as
    there are days, none negative. `show` writes a value with its unit, `summary` is what the chart says in a sentence.
    """
    if any(len(values) != len(days) for values in series.values()):
        raise ValueError("each series must have a value for each day")
    totals = [sum(values) for values in zip(*series.values(), strict=True)] if series else [0.0] * len(days)
    top = nice(max(totals, default=0))
    marks = [_column(index, days, series, totals, top, show) for index in range(len(days))]
    plot = Markup(
        '<svg class="axis" width="{width}" height="{height}" aria-hidden="true">{ticks}</svg>'
        '<svg role="img" aria-label="{title}" width="100%" height="{height}"><desc>{summary}</desc>'
        "{lines}{marks}{labels}</svg>"
    ).format(
        width=_axis_width(top, show), height=_ABOVE + _HEIGHT + _BELOW, ticks=_ticks(top, show), title=title,
        summary=summary or f"{len(days)} days, {show(sum(totals))} in all.", lines=_lines(),
        marks=Markup().join(marks), labels=_labels(days),
    )  # fmt: skip
    return Markup(
        '<figure class="chart"><figcaption>{}</figcaption><div class="plot">{}</div>{}{}</figure>'
    ).format(title, plot, _legend(list(series)), _table(title, days, series, totals, show))


def nice(highest: float) -> float:
    """Where an axis from 0 ends: the next 1, 2, 2.5 or 5 times a power of ten; 1 for nothing."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= highest * (1 - 1e-9))


def _y(value: float, top: float) -> float:
    return _ABOVE + _HEIGHT * (1 - value / top)


def _axis_width(top: float, show: Show) -> int:
    """Room for the longest label of the axis, in px; a digit is about 7 wide."""
    return round(7 * max(len(show(value)) for value in (0, top / 2, top))) + 6


def _ticks(top: float, show: Show) -> Markup:
    width = _axis_width(top, show)
    return Markup().join(
        Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(width, _y(value, top) + 4, show(value))
        for value in (0, top / 2, top)
    )


def _lines() -> Markup:
    return Markup().join(
        Markup('<line class="{}" x1="0" x2="100%" y1="{y}" y2="{y}"/>').format(kind, y=_ABOVE + _HEIGHT * part)
        for kind, part in (("grid", 0), ("grid", 0.5), ("base", 1))
    )


def _column(
    index: int, days: Sequence[str], series: Mapping[str, Sequence[float]], totals: Sequence[float], top: float,
    show: Show,
) -> Markup:  # fmt: skip
    slot = 100 / len(days)
    said = [f"{name}: {show(values[index])}" for name, values in series.items() if values[index]]
    shares = said if len(series) > 1 else []
    parts = [Markup("<title>{}</title>").format("\n".join([f"{days[index]}: {show(totals[index])}", *shares]))]
    parts.append(Markup('<rect class="slot" x="{:.3f}%" y="{}" width="{:.3f}%" height="{}"/>').format(
        index * slot, _ABOVE, slot, _HEIGHT))  # fmt: skip
    below = 0.0
    for number, values in enumerate(series.values()):
        if values[index]:
            upper, lower = _y(below + values[index], top), _y(below, top)
            left, height = (index + (1 - _SLOT) / 2) * slot, max(lower - upper, 0.5)
            parts.append(
                Markup('<rect class="s{}" x="{:.3f}%" y="{:.2f}" width="{:.3f}%" height="{:.2f}"/>').format(
                    number % _COLOURS + 1, left, upper, slot * _SLOT, height
                )
            )
            below += values[index]
    return Markup("<g>{}</g>").format(Markup().join(parts))


def _labels(days: Sequence[str]) -> Markup:
    """The names of so many days that they do not run into each other, the first and the last in full view."""
    count, slot = len(days), 100 / max(len(days), 1)
    step = max(1, math.ceil((count - 1) / (_MOST_LABELS - 1))) if count > _MOST_LABELS else 1
    made = []
    for index in range(0, count, step):
        anchor = "start" if index == 0 and count > 1 else "end" if index == count - 1 and count > 1 else "middle"
        x = {"start": index * slot, "middle": (index + 0.5) * slot, "end": (index + 1) * slot}[anchor]
        made.append(Markup('<text x="{:.3f}%" y="{}" text-anchor="{}">{}</text>').format(
            x, _ABOVE + _HEIGHT + 16, anchor, days[index]))  # fmt: skip
    return Markup().join(made)


def _legend(names: Sequence[str]) -> Markup:
    if len(names) < 2:
        return Markup()
    items = [
        Markup('<li><svg width="10" height="10" aria-hidden="true"><rect class="s{}" width="10" height="10" rx="2"/>'
               "</svg>{}</li>").format(number % _COLOURS + 1, name)
        for number, name in enumerate(names)
    ]  # fmt: skip
    return Markup('<ul class="legend">{}</ul>').format(Markup().join(items))


def _table(
    title: str, days: Sequence[str], series: Mapping[str, Sequence[float]], totals: Sequence[float], show: Show
) -> Markup:
    names = [*series, "All"] if len(series) > 1 else list(series)
    values = [*series.values(), totals] if len(series) > 1 else list(series.values())
    head = Markup().join(Markup('<th scope="col" class="num">{}</th>').format(name) for name in names)
    rows = Markup().join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            day, Markup().join(Markup('<td class="num">{}</td>').format(show(each[index])) for each in values)
        )
        for index, day in enumerate(days)
    )
    return Markup(
        '<details><summary>The numbers as a table</summary><div class="scroll" role="region" tabindex="0" '
        'aria-label="{0}, as a table"><table><thead><tr><th scope="col">Day</th>{1}</tr></thead><tbody>{2}</tbody>'
        "</table></div></details>"
    ).format(title, head, rows)


@dataclass(frozen=True, slots=True)
class Bar:
    """`text` is how `value` is written; `kind` is "", "own" or "best"; `note` stands below the label, `href` makes a
    link of it.
    """

    label: str
    value: float
    text: str
    note: str = ""
    kind: str = ""
    href: str = ""


def bars(title: str, bars: Sequence[Bar], head: tuple[str, str] = ("What", "How much")) -> Markup:
    """Bars to compare, one below the other, as long as their values are; the chart is a table with a picture in it."""
    most = max((bar.value for bar in bars), default=0) or 1
    rows = [
        Markup(
            '<tr class="{}"><th scope="row">{}{}</th><td class="bar"><svg width="100%" height="14" aria-hidden="true">'
            '<rect class="of" width="{:.3f}%" height="14" rx="3"/></svg></td><td class="num">{}</td></tr>'
        ).format(bar.kind, _bar_label(bar), _bar_note(bar), max(100 * bar.value / most, 0.4), bar.text)
        for bar in bars
    ]
    return Markup(
        '<figure class="chart"><figcaption>{0}</figcaption>'
        '<div class="scroll" role="region" tabindex="0" aria-label="{0}"><table class="bars">'
        '<thead class="visually-hidden"><tr><th scope="col">{1}</th><td></td><th scope="col">{2}</th></tr></thead>'
        "<tbody>{3}</tbody></table></div></figure>"
    ).format(title, *head, Markup().join(rows))


def _bar_label(bar: Bar) -> Markup:
    return Markup('<a href="{}">{}</a>').format(bar.href, bar.label) if bar.href else Markup("{}").format(bar.label)


def _bar_note(bar: Bar) -> Markup:
    return Markup('<span class="note">{}</span>').format(bar.note) if bar.note else Markup()
