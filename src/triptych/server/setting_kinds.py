"""How the value of a setting is written: with its own type in a TOML file, as text in variables and options."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..catalogue.names import KNOWN_LISTS
from ..engine.errors import TriptychError

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)
_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_ORIGIN = re.compile(r"\*|https?://[a-z0-9.:\[\]_-]+")
# The longest value that an error repeats.
_SHOWN = 80


class SettingsError(TriptychError):
    """A setting is unknown, wrong or missing; the message names it and where it was written."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to write a value.

    `expected` completes "it must be ...". `read` takes a value as TOML has it, `parse` makes such a value of text; both
    raise ValueError. `write` shows a value to people.
    """

    expected: str
    read: Callable[[Any], Any]
    parse: Callable[[str], Any] = str
    write: Callable[[Any], str] = str


@dataclass(frozen=True, slots=True)
class Place:
    """Where values were written: a file, a variable, an option. `folder` is where its relative paths begin."""

    name: str
    folder: Path = Path()

    def read(self, key: str, kind: Kind, value: Any, *, text: bool = False, secret: bool = False) -> Any:
        """The value of the setting `key`; with `text` a string is text. Raises SettingsError, never with a secret."""
        try:
            found = kind.read(kind.parse(value) if text and isinstance(value, str) else value)
        except (ValueError, OverflowError):
            shown = repr(value)
            shown = "" if secret else f", not {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}"
            raise self.error(key, f"must be {kind.expected}{shown}") from None
        return self.folder / found if isinstance(found, Path) else found

    def error(self, key: str, problem: str) -> SettingsError:
        return SettingsError(f"{self.name}: {key} {problem}")

    def reject_unknown(self, keys: Iterable[str], known: Iterable[str], prefix: str = "") -> None:
        """Raises SettingsError for the first of `keys` that does not exist, with what may have been meant."""
        names = list(known)
        for key in keys:
            if key not in names:
                raise SettingsError(f"{self.name}: unknown setting {prefix}{key}{suggestion(key, names)}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """What may have been meant by `word`, or all there is, as the end of an error's sentence."""
    names = list(known)
    near = difflib.get_close_matches(word, names, 1) or [name for name in names if name.startswith(word)][:1]
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"


def _whole_of(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    return value


def _text_of(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError
    return value.strip()


def _passing(value: bool) -> None:
    if not value:
        raise ValueError


def whole(least: int, most: int | None = None) -> Kind:
    def read(value: Any) -> int:
        _passing(_whole_of(value) >= least and (most is None or value <= most))
        return int(value)

    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    return Kind(f"a whole number {bounds}", read, int)


def seconds(above: float | None = None) -> Kind:
    """Seconds of at least 0, or above a bound."""

    def read(value: Any) -> float:
        _passing(isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
        _passing(value >= 0 if above is None else value > above)
        return float(value)

    return Kind(f"seconds, {'0 or more' if above is None else f'above {above:g}'}", read, float, "{:g}".format)


def choice(*names: str) -> Kind:
    def read(value: Any) -> str:
        _passing(isinstance(value, str) and value in names)
        return str(value)

    return Kind(f"one of {', '.join(names)}", read, str.strip)


def listed(item: Kind) -> Kind:
    """A list; as text, items between commas."""

    def read(value: Any) -> tuple[Any, ...]:
        _passing(isinstance(value, list | tuple))
        return tuple(dict.fromkeys(item.read(each) for each in value))

    def parse(text: str) -> list[Any]:
        return [item.parse(each.strip()) for each in text.split(",") if each.strip()]

    return Kind(f"a list, each {item.expected}", read, parse, lambda value: ", ".join(map(item.write, value)) or "none")


def or_none(kind: Kind, meaning: str) -> Kind:
    """`kind`, or 0 or "none" for None."""

    def read(value: Any) -> Any:
        return None if value in (0, "0", "none") and value is not False else kind.read(value)

    def parse(text: str) -> Any:
        return "none" if text.strip() in ("0", "none") else kind.parse(text)

    def write(value: Any) -> str:
        return "none" if value is None else kind.write(value)

    return Kind(f'{kind.expected}, or 0 or "none" for {meaning}', read, parse, write)


def _read_switch(value: Any) -> bool:
    _passing(isinstance(value, bool))
    return bool(value)


def _parse_switch(text: str) -> bool:
    word = text.strip().lower()
    _passing(word in ("true", "1", "yes", "on", "false", "0", "no", "off"))
    return word in ("true", "1", "yes", "on")


def _read_size(value: Any) -> int:
    match = _SIZE.fullmatch(value.strip() if isinstance(value, str) else str(_whole_of(value)))
    _passing(match is not None)
    assert match is not None
    size = int(float(match[1]) * _UNITS[match[2].upper()])
    _passing(size >= 1)
    return size


def write_size(size: int) -> str:
    """`size` bytes with the largest unit that leaves a whole number."""
    unit = next((unit for unit in "TGMK" if size % _UNITS[unit] == 0), "")
    return f"{size // _UNITS[unit]}{unit}"


def _read_host(value: Any) -> str:
    host = _text_of(value).removeprefix("[").removesuffix("]")
    _passing(bool(host) and not any(mark in host for mark in " /@"))
    return host


def _read_host_name(value: Any) -> str:
    name = _text_of(value).lower().removesuffix(".")
    _passing(_HOST_NAME.fullmatch(name) is not None)
    return name


def _read_origin(value: Any) -> str:
    origin = _text_of(value).lower()
    _passing(_ORIGIN.fullmatch(origin) is not None)
    return origin


def _read_name(value: Any) -> str:
    name = _text_of(value)
    _passing(" " not in name)
    return name


def _read_key(value: Any) -> str:
    _passing(isinstance(value, str) and value != "" and value.isascii() and value.isprintable() and " " not in value)
    return str(value)


def _read_database(value: Any) -> str:
    url = _text_of(value)
    parts = urlsplit(url)
    _passing(parts.scheme in ("postgresql", "postgres") and bool(parts.path.strip("/")))
    return url.replace("postgres://", "postgresql://", 1)


def _write_database(value: str) -> str:
    """Without the password."""
    parts = urlsplit(value)
    return value if parts.password is None else value.replace(f":{parts.password}@", ":***@", 1)


def _read_storage(value: Any) -> str:
    url = _text_of(value)
    parts = urlsplit(url)
    _passing(parts.scheme in ("s3", "gs", "az") and bool(parts.netloc) and parts.password is None)
    return url


def _read_price_list(value: Any) -> str:
    place = _text_of(value)
    if place not in KNOWN_LISTS and not place.startswith("/"):
        parts = urlsplit(place)
        _passing(parts.scheme in ("http", "https") and bool(parts.hostname))
        _passing(parts.username is None and parts.password is None)
    return place


SWITCH = Kind("true or false", _read_switch, _parse_switch, lambda value: str(value).lower())
SIZE = Kind("a size in bytes such as 1048576, 512M or 8G", _read_size, write=write_size)
TEXT = Kind("text", _text_of)
NAME = Kind("a name without spaces", _read_name)
KEY = Kind("a key: ASCII letters, digits and marks, without spaces", _read_key)
PATH = Kind("a path", lambda value: Path(_text_of(value)).expanduser())
HOST = Kind("an address or a host name", _read_host)
HOST_NAME = Kind("a host name such as images.example.com, without scheme, port or path", _read_host_name)
DATABASE = Kind("a URL such as postgresql://user@host/triptych", _read_database, write=_write_database)
STORAGE = Kind("the URL of an object store such as s3://bucket/folder", _read_storage)
PRICE_LIST = Kind(
    f"{', '.join(KNOWN_LISTS)}, an http or https address without a password, or the whole path of a file",
    _read_price_list,
)
NETWORK = Kind("a network such as 10.0.0.0/8 or fd00::/8", lambda value: ip_network(_text_of(value)))
ORIGIN = Kind("an origin such as https://example.com, without a path, or *", _read_origin)
