"""GET /v1/streams/{token}: the output of a prediction as server-sent events, from the beginning or from an event on.

Whoever has the URL may read it: clients send no key here. An event's id is the second in which the prediction was
created and the event's number, so every reader sees the same ones.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from ...exchange import Answer, Events, Exchange
from ...predictions.predictions import Predictions
from ...service import Service
from ...store.predictions import PredictionRecord
from .errors import not_found
from .form import to_json
from .shown import DIALECT

_HEADERS = {"cache-control": "no-store", "access-control-allow-origin": "*"}
# Where one of the clients ends a line; what follows on it would be lost.
_BREAKS = re.compile("\r\n|[\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_ID = re.compile(r"(\d{1,19}):(\d{1,18})")


@dataclass(frozen=True, slots=True)
class StreamRoutes:
    """The handlers."""

    predictions: Predictions

    async def follow(self, service: Service, exchange: Exchange, body: bytes) -> Answer | Events:
        """All events of a prediction, those that come too, or those behind `Last-Event-ID`."""
        records = await self.predictions.follow(exchange.scope["path_params"]["token"])
        first = None if records is None else await anext(records, None)
        if records is None or first is None or first.dialect != DIALECT:
            raise not_found()
        if exchange.scope["method"] == "HEAD":
            return Answer(b"", content_type="text/event-stream", headers=_HEADERS)
        stream = Stream(first, exchange.headers.get("last-event-id", ""))
        return Events(stream.events(records), stream.broken, _HEADERS)


class Stream:
    """One reader's way through the events of a prediction."""

    def __init__(self, record: PredictionRecord, last_event_id: str = "") -> None:
        self._record = record
        self._second = record.created_us // 1_000_000
        self._sent = self._behind(last_event_id)

    def _behind(self, event_id: str) -> int:
        """How many events a reader has seen, by the id of the last one."""
        found = _ID.fullmatch(event_id.strip())
        return int(found[2]) + 1 if found is not None and int(found[1]) == self._second else 0

    async def events(self, records: AsyncGenerator[PredictionRecord]) -> AsyncGenerator[bytes]:
        """The events. The last one is `done`, whatever happens, and whatever has been seen."""
        yield b": connected\n\n"
        record: PredictionRecord | None = self._record
        async with aclosing(records):
            while record is not None:
                for event in self._new(record):
                    yield event
                if record.ended:
                    for event in self._end(record):
                        yield event
                    return
                record = await anext(records, None)
        yield self.broken(LookupError("it was deleted"))

    def _new(self, record: PredictionRecord) -> list[bytes]:
        """Output that this reader has not seen."""
        made = []
        while self._sent < len(record.output):
            before = record.output[self._sent - 1] if self._sent else ""
            made.append(self._event("output", on_the_wire(before, record.output[self._sent])))
        return made

    def _end(self, record: PredictionRecord) -> list[bytes]:
        said = len(record.output)
        if record.status != "failed":
            self._sent = said
            return [self._event("done", '{"reason":"canceled"}' if record.status == "canceled" else "{}")]
        made = []
        if self._sent <= said:
            made.append(self._event("error", _detail(record.error or "it failed")))
        self._sent = said + 1
        return [*made, self._event("done", '{"reason":"error"}')]

    def broken(self, error: Exception) -> bytes:
        """The end of a stream that this server cannot go on with. Its events have the last one's id: whoever comes back
        with it gets the rest.
        """
        told = _detail("the stream broke off; the prediction itself may go on")
        seen = f"{self._second}:{self._sent - 1}" if self._sent else "0:0"
        return _written("error", seen, told) + _written("done", seen, '{"reason":"error"}')

    def _event(self, name: str, data: str) -> bytes:
        event = _written(name, f"{self._second}:{self._sent}", data)
        self._sent += 1
        return event


def on_the_wire(before: str, text: str) -> str:
    """An element of the output with line feeds for everything that readers take for the end of a line; one in two
    elements stays one.
    """
    if before.endswith("\r") and text.startswith("\n"):
        text = text[1:]
    return _BREAKS.sub("\n", text)


def _detail(text: str) -> str:
    return to_json({"detail": text}).decode()


def _written(name: str, event_id: str, data: str) -> bytes:
    """One event. Readers take off the one space behind a colon."""
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {name}\nid: {event_id}\n{lines}\n".encode()
