"""The input file of a batch: a JSON object a line, each a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

MOST_LINES = 50_000
_MOST_PROBLEMS = 50
# Reading goes on between other work of the event loop.
_LINES_IN_A_TURN = 16


class Line(msgspec.Struct):
    """One request; `body` is left as it is."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


_decoder = msgspec.json.Decoder(Line)


@dataclass(slots=True)
class Checked:
    """What is in a file: how many requests, for which model first, and what is wrong, as OpenAI's objects."""

    total: int = 0
    model: str | None = None
    problems: list[dict[str, Any]] = field(default_factory=list)


async def split(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a file, those without text left out."""
    held: list[bytes] = []
    count = 0
    async for part in parts:
        *whole, rest = part.split(b"\n")
        for line in whole:
            held.append(line)
            if text := b"".join(held).strip():
                yield text
            held.clear()
            count += 1
            if count % _LINES_IN_A_TURN == 0:
                await asyncio.sleep(0)
        held.append(rest)
    if text := b"".join(held).strip():
        yield text


def read(text: bytes) -> Line:
    """A line that was checked."""
    return _decoder.decode(text)


async def check(lines: AsyncIterator[bytes], endpoint: str) -> Checked:
    """Read a whole file and say what is wrong with it."""
    checked = Checked()
    seen: set[str] = set()
    async for text in lines:
        checked.total += 1
        if checked.total > MOST_LINES:
            _problem(checked, "too_many_requests", f"There are more than {MOST_LINES} requests.", None)
            break
        if len(checked.problems) < _MOST_PROBLEMS:
            _check_line(checked, text, endpoint, seen)
    if not checked.total:
        _problem(checked, "empty_file", "There is no request in the file.", None)
    return checked


def _check_line(checked: Checked, text: bytes, endpoint: str, seen: set[str]) -> None:
    try:
        line = _decoder.decode(text)
        body = msgspec.json.decode(line.body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error)[:200] or "nested too deeply"
        _problem(checked, "invalid_json_line", f"This line is no request: {reason}.", None)
        return
    if line.custom_id in seen:
        _problem(checked, "duplicate_custom_id", f"The custom_id {line.custom_id[:100]!r} is used twice.", "custom_id")
    elif line.method.upper() != "POST":
        _problem(checked, "invalid_method", f"The method must be POST, not {line.method[:20]!r}.", "method")
    elif line.url != endpoint:
        told = f"The url {line.url[:100]!r} is not the batch's endpoint {endpoint}."
        _problem(checked, "mismatched_endpoint", told, "url")
    seen.add(line.custom_id)
    checked.model = checked.model or body.model


class _Body(msgspec.Struct):
    """Of a body only its being an object matters here; everything else is the answer's affair."""

    model: str | None = None


def _problem(checked: Checked, code: str, message: str, param: str | None) -> None:
    line = checked.total if param or code == "invalid_json_line" else None
    checked.problems.append({"code": code, "message": message, "param": param, "line": line})
