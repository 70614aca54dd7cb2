"""Data files read and checked: TOML of the package, JSON of the data folder. What is wrong is named with its line.

The checks of a single file are here; that its references exist is checked where all files meet, in `catalogue`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date as Day
from pathlib import Path
from typing import Any, get_args

import msgspec

from . import rows
from .errors import DataError
from .facts import (
    ApiExample,
    ApiField,
    Band,
    Claim,
    Component,
    Family,
    Model,
    Observation,
    Provider,
    Route,
    Source,
    State,
)
from .money import parse_usd
from .units import Unit, read_price

# Nothing of this was sold before.
_FIRST_DAY = Day(2022, 1, 1)
_PLACE = re.compile(r"(.*) - at `\$\.?(.*)`$", re.DOTALL)
_ELEMENT = re.compile(r"(\w+)\[(\d+)\](?:\.(\w+))?")
_MARKS = ("not sourced", "not applicable")


@dataclass(frozen=True, slots=True)
class Contents:
    """What one file says, in the order of the file; `place` names rows of it in errors."""

    place: FilePlace
    sources: tuple[Source, ...] = ()
    families: tuple[Family, ...] = ()
    models: tuple[Model, ...] = ()
    providers: tuple[Provider, ...] = ()
    routes: tuple[Route, ...] = ()
    claims: tuple[Claim, ...] = ()
    prices: tuple[Observation, ...] = ()
    fields: tuple[ApiField, ...] = ()
    examples: tuple[ApiExample, ...] = ()


class FilePlace:
    """Where rows are in a file: the line of the n-th row of a table, and of a key in it, if the file has lines."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines() if path.suffix == ".toml" else []

    def error(self, table: str, index: int, key: str, why: str) -> DataError:
        line = self._line(table, index, key)
        where = f"line {line}" if line else f"{table}[{index}]"
        return DataError(f"{self._path}, {where}: {f'{key}: ' if key else ''}{why}")

    def _line(self, table: str, index: int, key: str) -> int | None:
        """Rows are `[[table]]` with a key a line, or one line each in `table = [ ... ]`."""
        headers = [number for number, line in enumerate(self._lines, 1) if line.strip() == f"[[{table}]]"]
        if index < len(headers):
            for number in range(headers[index], len(self._lines) + 1):
                line = self._lines[number - 1].strip()
                if re.match(rf"{re.escape(key or table)}\s*=", line):
                    return number
                if line.startswith("[") and number > headers[index]:
                    break
            return headers[index]
        starts = [number for number, line in enumerate(self._lines, 1) if re.match(rf"{table}\s*=\s*\[", line)]
        if not starts:
            return None
        inline = [n for n, line in enumerate(self._lines[starts[0] :], starts[0] + 1) if line.strip().startswith("{")]
        return inline[index] if index < len(inline) else None


def read_file(path: Path, today: Day) -> Contents:
    """Raises DataError. `today` is what no date of an observation may be after."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})") from None
    return read_text(path, text, today)


def read_text(path: Path, text: str, today: Day) -> Contents:
    """The text of the file `path`, as `read_file` reads it."""
    place = FilePlace(path, text)
    return _Reader(place, today).contents(_rows(path, text, place))


def _rows(path: Path, text: str, place: FilePlace) -> rows.DataFile:
    try:
        if path.suffix == ".json":
            return msgspec.json.decode(text.encode(), type=rows.DataFile)
        return msgspec.convert(tomllib.loads(text), rows.DataFile)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: not valid TOML: {error}") from None
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        raise _misfit(path, place, str(error)) from None


def _misfit(path: Path, place: FilePlace, message: str) -> DataError:
    """msgspec's word for it, with the line in place of its path."""
    found = _PLACE.match(message)
    element = _ELEMENT.match(found[2]) if found else None
    if found is None or element is None:
        return DataError(f"{path}: {message}")
    return place.error(element[1], int(element[2]), element[3] or "", found[1])


class _Reader:
    """Turns rows into records, checking what a type cannot say."""

    def __init__(self, place: FilePlace, today: Day) -> None:
        self._place = place
        self._today = today

    def contents(self, file: rows.DataFile) -> Contents:
        return Contents(
            self._place,
            tuple(self._source(index, row) for index, row in enumerate(file.sources)),
            tuple(_same(Family, row) for row in file.families),
            tuple(_same(Model, row) for row in file.models),
            tuple(_same(Provider, row) for row in file.providers),
            tuple(_same(Route, row) for row in file.routes),
            tuple(self._claim(index, row) for index, row in enumerate(file.claims)),
            tuple(self._price(index, row) for index, row in enumerate(file.prices)),
            tuple(_same(ApiField, row) for row in file.fields),
            tuple(self._example(index, row) for index, row in enumerate(file.examples)),
        )

    def _source(self, index: int, row: rows.SourceRow) -> Source:
        for key, day in (("seen", row.seen), ("date", row.date)):
            if day is not None and not _FIRST_DAY <= day <= self._today:
                when = "in the future" if day > self._today else f"before {_FIRST_DAY}"
                raise self._place.error("sources", index, key, f"{day} is {when}")
        if row.date is not None and row.date > row.seen:
            raise self._place.error("sources", index, "seen", f"it was seen on {row.seen}, before its date {row.date}")
        return _same(Source, row)

    def _claim(self, index: int, row: rows.ClaimRow) -> Claim:
        if (row.value is None) != (row.state in _MARKS):
            why = "needs no value" if row.value is not None else "needs a value, or a state that says why not"
            raise self._place.error("claims", index, "value", f"a claim that is {row.state} {why}")
        self._formula("claims", index, row.state, row.formula)
        value = row.value.isoformat() if isinstance(row.value, Day) else row.value
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, str) and part for part in texts) and not isinstance(value, int | None):
            why = "must be text, a whole number, true or false, a date, or a list of texts"
            raise self._place.error("claims", index, "value", why)
        return _same(Claim, row, value=tuple(value) if isinstance(value, list) else value)

    def _formula(self, table: str, index: int, state: State, formula: str | None) -> None:
        if (state == "derived") != (formula is not None):
            why = "what is derived needs its formula" if formula is None else "only what is derived has a formula"
            raise self._place.error(table, index, "formula", why)

    def _price(self, index: int, row: rows.PriceRow) -> Observation:
        components = tuple(self._components(index, row))
        if not components:
            raise self._place.error("prices", index, "", "it prices nothing")
        if row.band and (row.caption is None or row.band.least > row.band.most):
            raise self._place.error("prices", index, "band", "a band is from least to most, of a caption's price")
        if row.since and row.until and row.since > row.until:
            raise self._place.error("prices", index, "until", f"{row.until} is before since, {row.since}")
        return Observation(row.route, row.source, components, row.since, row.until, row.formula, row.note)

    def _components(self, index: int, row: rows.PriceRow) -> Iterator[Component]:
        for unit in get_args(Unit):
            text = getattr(row, unit)
            if text is None:
                continue
            if text in _MARKS:
                yield Component(unit, None, text)
                continue
            try:
                nano = read_price(unit, text)
            except ValueError as error:
                raise self._place.error("prices", index, unit, str(error)) from None
            band = Band(row.band.of, row.band.least, row.band.most) if row.band and unit == "caption" else None
            yield Component(unit, nano, "derived" if row.formula else "sourced", band)

    def _example(self, index: int, row: rows.ApiExampleRow) -> ApiExample:
        try:
            return _same(ApiExample, row, cost=parse_usd(row.cost))
        except ValueError as error:
            raise self._place.error("examples", index, "cost", str(error)) from None


def _same(kind: Any, row: msgspec.Struct, **changed: Any) -> Any:
    """A record of `kind` with the values of a row, which has the same fields."""
    values = {field.name: getattr(row, field.name) for field in fields(kind) if hasattr(row, field.name)}
    return kind(**{**values, **changed})
