"""Where captions go: a stream, a file that only ever holds whole lines, or a text file beside each image."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import click

from .records import Format, NotOursError, Record, encode, header, read_earlier


class Output(Protocol):
    """Takes records in the order of the images."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


class StreamOutput:
    """Standard output. `around` clears the progress bar away while a line is written to the same terminal."""

    def __init__(self, format: Format, with_path: bool, around: Callable[[], AbstractContextManager[None]]) -> None:
        self._format: Format = format
        self._with_path = with_path
        self._around = around
        self._out = sys.stdout.buffer
        self._out.write(header(format))

    def write(self, record: Record) -> None:
        line = encode(record, self._format, self._with_path)
        if line:
            with uninterrupted(), self._around():
                self._out.write(line)
                self._out.flush()

    def close(self) -> None:
        self._out.flush()


class FileOutput:
    """A file to which whole lines are added; what an earlier run finished stays.

    A line that cannot be written in full (disk full) is taken back before the error is raised.
    """

    def __init__(self, path: Path, format: Format, keep: bytes | None) -> None:
        """`keep` None: the file is as it should be, go on at its end. Otherwise it is made to hold `keep`."""
        self._path = path
        self._format: Format = format
        try:
            if keep is not None:
                replace_file(path.resolve(), keep)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise cannot_write(path, error) from None
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        if self._regular and os.fstat(self._fd).st_size == 0:
            self._append(header(format))

    def write(self, record: Record) -> None:
        self._append(encode(record, self._format))

    def _append(self, line: bytes) -> None:
        with uninterrupted():
            start = os.fstat(self._fd).st_size
            rest = line
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
            except OSError as error:
                if self._regular:
                    with suppress(OSError):
                        os.ftruncate(self._fd, start)
                raise cannot_write(self._path, error) from None

    def close(self) -> None:
        os.close(self._fd)


class SidecarOutput:
    """`photo.txt` beside `photo.jpg`: complete or not there at all."""

    def write(self, record: Record) -> None:
        if record.error is not None:
            return
        target = sidecar(record.path)
        try:
            with uninterrupted():
                replace_file(target, (record.text.strip() + "\n").encode())
        except OSError as error:
            raise cannot_write(target, error) from None

    def close(self) -> None:
        pass


def sidecar(image: str) -> Path:
    return Path(image).with_suffix(".txt")


def replace_file(path: Path, content: bytes) -> None:
    """Puts `content` at `path` in one step: readers see the old file or the new one."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        mode = path.stat().st_mode if path.exists() else 0o666 & ~_umask()
        os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def look_at_file(path: Path, format: Format, model: str, overwrite: bool) -> tuple[bytes | None, frozenset[str]]:
    """What to keep of the file (None: all of it, or there is none), and the paths an earlier run finished in it.

    Changes nothing. Raises a usage error when the file holds something else, or captions of another model.
    """
    if not path.exists() or _is_special(path):
        return None, frozenset()
    if overwrite:
        return b"", frozenset()
    content = path.read_bytes()
    if not content:
        return None, frozenset()
    if format == "text":
        raise click.UsageError(f"{path} exists: a text file cannot be continued; use --overwrite or --format jsonl")
    try:
        earlier = read_earlier(content, format)
    except NotOursError as error:
        raise click.UsageError(
            f"{path} is not {format} that this command wrote ({error}); use --overwrite or another --out"
        ) from None
    if others := earlier.models - {model}:
        raise click.UsageError(
            f"{path} holds captions by {', '.join(sorted(others))}; use that model, --overwrite or another --out"
        )
    return None if earlier.kept == content else earlier.kept, earlier.paths


def cannot_write(path: Path, error: OSError) -> click.ClickException:
    reason = error.strerror or str(error)
    way_out = "; free some space and run the same command again to go on" if error.errno == errno.ENOSPC else ""
    return click.ClickException(f"cannot write {path}: {reason}{way_out}")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back until the block is done, so that no line is torn."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *seen: pending.append(seen))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pending and callable(before):
            before(*pending[0])


def _is_special(path: Path) -> bool:
    """A device or pipe, such as /dev/stdout: nothing to resume or to replace."""
    return path.exists() and not path.is_file()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


