"""Server-sent events, as bytes arrive."""

from __future__ import annotations

from collections.abc import Iterator

# The largest event, in bytes: log-probabilities of a whole answer fit many times.
MOST_BYTES = 16 << 20


class EventTooLargeError(Exception):
    """An event does not come to its end."""


class EventReader:
    """Bytes to the data of whole events. They are cut anywhere, also within a character, so nothing is decoded here."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._held = bytearray()
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The events that `data` completes, without those that have no data. Raises EventTooLargeError."""
        whole = b"\n" in data or b"\r" in data or self._held.endswith(b"\r")
        self._held += data
        if whole:  # else a long line goes on, which is not to be copied with every read
            *lines, rest = self._split()
            for line in lines:
                if line:
                    self._read(line)
                elif (event := self._event()) is not None:
                    yield event
            self._held = bytearray(rest)
        if len(self._held) + sum(map(len, self._data)) > self._most:
            raise EventTooLargeError(f"an event of more than {self._most} bytes")

    def _split(self) -> list[bytes]:
        held = bytes(self._held)
        # A carriage return at the very end may be half of a line's end.
        end = held[-1:] if held.endswith(b"\r") else b""
        lines = held.removesuffix(end).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        lines[-1] += end
        return lines

    def _read(self, line: bytes) -> None:
        """A line of an event. Comments keep connections open; an event's name says nothing that its data does not."""
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))

    def _event(self) -> bytes | None:
        data, self._data = self._data, []
        return b"\n".join(data) if data else None

    def rest(self) -> bytes | None:
        """What stands after the last whole event: some servers end without the blank line."""
        if self._held:
            self._read(bytes(self._held).rstrip(b"\r"))
            self._held.clear()
        return self._event()
