"""Times, lengths, sizes and money in words, for people."""

from __future__ import annotations

from datetime import UTC, datetime

from markupsafe import Markup

from ...catalogue.money import dollars

API_NAMES = {"openai": "OpenAI", "replicate": "Replicate", "runware": "Runware"}

_SIZES = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
_LENGTHS = (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))


def moment(microseconds: int | None, form: str = "ago") -> Markup:
    """A time since 1970 for a page: UTC, which a script puts into the reader's zone, in full or as how long ago."""
    if microseconds is None:
        return Markup('<span class="none">–</span>')
    at = datetime.fromtimestamp(microseconds / 1e6, UTC)
    told = Markup('<time datetime="{}" data-form="{}">{}</time>')
    return told.format(f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z", form, f"{at:%Y-%m-%d %H:%M:%S} UTC")


def since(microseconds: int) -> Markup:
    """How long something lasts that began then and goes on; without a script when it began."""
    return Markup("since {}").format(moment(microseconds, "since"))


def duration(seconds: float) -> str:
    """A length of time in two parts at most: "12 ms", "3.42 s", "4 min 10 s"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms" if seconds < 0.0995 else f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    for name, unit, smaller, part in _LENGTHS:
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name} {rest} {smaller}" if rest else f"{whole // unit} {name}"
    raise AssertionError("one of the units fits")


def size(count: int) -> str:
    """Bytes in decimal units."""
    for name, unit in _SIZES:
        if count >= unit:
            return f"{count / unit:.3g} {name}" if count < 999.5 * unit else f"{count / unit:.0f} {name}"
    return f"{count} bytes"


def number(count: float) -> str:
    """A whole number with its thousands apart."""
    return f"{round(count):,}"


def api(name: str) -> str:
    """What people call an API."""
    return API_NAMES.get(name, name)


FILTERS = {
    "api": api, "moment": moment, "since": since, "duration": duration, "bytes": size, "number": number,
    "dollars": dollars,
}  # fmt: skip
