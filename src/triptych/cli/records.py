"""One line of output for each image, and what an earlier run already wrote."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

Format = Literal["text", "jsonl", "csv", "sidecar"]


@dataclass(frozen=True, slots=True)
class Record:
    """A caption, or the error that there is in its place. `seconds` is the time from admission to the last token."""

    path: str
    model: str = ""
    text: str = ""
    prompt_tokens: int = 0
    image_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    error: str | None = None


COLUMNS = ("path", "model", "text", "prompt_tokens", "image_tokens", "completion_tokens", "seconds", "error")


def header(format: Format) -> bytes:
    return _csv_line(COLUMNS) if format == "csv" else b""


def encode(record: Record, format: Format, with_path: bool = True) -> bytes:
    """The whole line of a record, with its end; empty where the format has none for errors."""
    if format == "csv":
        values = asdict(record)
        failed = record.error is not None
        return _csv_line([("" if failed and name not in ("path", "error") else values[name]) for name in COLUMNS])
    if format == "jsonl":
        if record.error is not None:
            values = {"path": record.path, "error": record.error}
        else:
            values = {name: value for name, value in asdict(record).items() if name != "error"}
        # A file name that is not UTF-8 becomes a \udcXX escape: valid JSON that reads back as the same name.
        return (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
    if record.error is not None:
        return b""
    text = " ".join(record.text.split())
    return (f"{record.path}: {text}\n" if with_path else f"{text}\n").encode("utf-8", "surrogateescape")


def _csv_line(values: object) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)  # type: ignore[arg-type]
    return buffer.getvalue().encode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an output file holds from before: finished paths, their models, and the bytes worth keeping."""

    paths: frozenset[str]
    models: frozenset[str]
    kept: bytes


class NotOursError(ValueError):
    """The file does not look like the output of an earlier run."""


def read_earlier(content: bytes, format: Format) -> Earlier:
    """Reads an earlier run's jsonl or csv. Lines of errors and a torn last line are not kept: they are redone.

    Raises `NotOursError` naming the line that is something else.
    """
    paths, models, kept = set(), set(), []
    if format == "csv" and content:
        kept.append(header("csv"))
    for number, (line, values) in enumerate(_lines(content, format), 1):
        if values.get("error") or "path" not in values:
            if "path" not in values:
                raise NotOursError(f"line {number}")
            continue
        paths.add(values["path"])
        models.add(values.get("model", ""))
        kept.append(line)
    return Earlier(frozenset(paths), frozenset(models), b"".join(kept))


def _lines(content: bytes, format: Format) -> Iterator[tuple[bytes, dict[str, str]]]:
    for number, line in enumerate(_whole_records(content, format), 1):
        if format == "csv":
            row = next(csv.reader(io.StringIO(line.decode("utf-8", "replace"), newline="")), [])
            if number == 1:
                if tuple(row) != COLUMNS:
                    raise NotOursError("line 1")
                continue
            if len(row) != len(COLUMNS):
                raise NotOursError(f"line {number}")
            yield line, dict(zip(COLUMNS, row, strict=True))
            continue
        try:
            values = json.loads(line)
        except ValueError:
            raise NotOursError(f"line {number}") from None
        if not isinstance(values, dict):
            raise NotOursError(f"line {number}")
        yield line, values


def _whole_records(content: bytes, format: Format) -> Iterator[bytes]:
    """Records with their line ends; a CSV record may hold line ends inside quotes. A torn last one is left out."""
    record = b""
    for line in content.split(b"\n")[:-1]:
        record += line + b"\n"
        if format == "csv" and record.count(b'"') % 2:
            continue
        if record.strip():
            yield record
        record = b""
