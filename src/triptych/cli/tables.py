"""What a running server kept, for people: rows, facts, and times and lengths in words."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime

import click

from . import columns

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# What could move the cursor or change the title of a terminal: callers and other servers wrote what is shown here.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Duration(click.ParamType[float]):
    """Seconds, written as a number with s, m, h, d or w behind it."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip().lower()
        number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
        try:
            seconds = float(number) * _UNITS[unit]
        except ValueError:
            self.fail(f"{value!r} is not a length of time; write for example 12h or 30d", param, ctx)
        if not 0 <= seconds <= 1e10:
            self.fail(f"{value!r} is not a length of time from 0 to 300 years", param, ctx)
        return seconds


def show(
    headers: Sequence[str], rows: Sequence[Sequence[str]], nothing: str, right: Sequence[str] = ()
) -> None:
    """Print rows under their headers, columns in `right` pushed to the right; the sentence `nothing`, on stderr, if
    there are none.
    """
    if not rows:
        click.echo(nothing, err=True)
        return
    columns.show(headers, [[_CONTROL.sub(" ", cell) for cell in row] for row in rows], right)


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values; further lines of a value stand under its first."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        first, *rest = value.splitlines() or [""]
        click.echo(f"{name.ljust(width)}  {_CONTROL.sub(' ', first)}".rstrip())
        for line in rest:
            click.echo(f"{' ' * width}  {_CONTROL.sub(' ', line)}".rstrip())


def bar(share: float, width: int) -> str:
    """`share`, from 0 to 1, of a line of `width` characters, to an eighth of one; something that is more than 0 is
    always to be seen.
    """
    blocks = "▏▎▍▌▋▊▉█" if _prints("█") else "#"
    most = width * len(blocks)
    whole, part = divmod(max(round(min(share, 1.0) * most), int(share > 0)), len(blocks))
    return blocks[-1] * whole + (blocks[part - 1] if part else "")


def _prints(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def moment(seconds: float | None) -> str:
    """A time since 1970 in this machine's zone."""
    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"


def ahead(seconds: float | None) -> str:
    """How far a time since 1970 is from now."""
    if seconds is None:
        return "-"
    left = seconds - time.time()
    return "now" if left <= 0 else f"in {length(left)}"


def length(seconds: float | None) -> str:
    """Seconds, minutes, hours or days, whichever says most."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
