"""Pages about predictions: which there are, and what became of one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from ...admin_predictions import DIALECTS, STATES, PredictionOrders, wanted
from ...dialects.openai.errors import OpenAIError
from ...exchange import Answer, Exchange
from ...service import FILE, Service
from ...store import usage
from ...store.ids import now_us
from ...store.predictions import PredictionRecord
from ..measures import API_NAMES
from ..page_routes import PageError
from ..pages import GUARDS, shown
from ..posted import Fields, see_other
from . import live
from .bill import Bill
from .listing import PAGE, Listing
from .live import Part
from .thumbnails import Thumbnails, sources
from .timeline import bars, spans
from .who import caller_of

PATH = "/app/predictions"
# How often a page asks for what is new.
_EVERY = "1s"
_BOOKED_US = 3_000_000


@dataclass(frozen=True, slots=True)
class PredictionPages:
    """The handlers."""

    orders: PredictionOrders
    thumbnails: Thumbnails

    async def list_all(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Predictions, the newest first; with `seen` those of a page that changed since."""
        if (has := live.asked(exchange)) is not None:
            get = partial(self.orders.kept.predictions.get, owner=caller_of(exchange).sees)
            return await _LISTING.changes(exchange, has, get)
        try:
            only = wanted(exchange.query, caller_of(exchange).sees)
        except OpenAIError as error:
            raise PageError(str(error), error.status, "That cannot be looked for") from None
        return _LISTING.page(
            exchange, await self.orders.kept.predictions.page(only, PAGE + 1), states=STATES,
            models=[model.name for model in service.router.models],
            dialects=[(name, API_NAMES[name]) for name in DIALECTS],
        )  # fmt: skip

    async def show(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """One prediction; with `seen` the parts of its page that changed since."""
        record = await self._find(exchange)
        path = f"{PATH}/{record.id}"
        parts = await self._parts(record)
        if (has := live.asked(exchange)) is not None:
            return live.changes(exchange, path, parts, has, _EVERY)
        return shown(
            exchange, "operations/prediction.html", section="predictions", record=record,
            given=_given(record), pictures=_pictures(record),
            parts_of={part.id: part.html for part in parts}, asking=live.asking(path, parts, _EVERY),
        )  # fmt: skip

    async def _parts(self, record: PredictionRecord) -> list[Part]:
        told, bill, now = await self.orders.told(record), await self._bill(record), now_us()
        # It is in the books a moment after its end.
        billed = bill is not None or now > (record.completed_us or now) + _BOOKED_US
        changing = not record.ended or not billed or any(_soon(message.due_us, now) for message in told)
        values: dict[str, Any] = {
            "record": record, "bars": bars(spans(record, now)), "told": told, "output": "".join(record.output),
            "rate": _rate(record), "bill": bill,
        }  # fmt: skip
        return [
            Part.of(name, f"operations/prediction/{name}.html", changing, values)
            for name in ("status", "timeline", "answer", "facts", "log", "told-of-it")
        ]

    async def _bill(self, record: PredictionRecord) -> Bill | None:
        """What it cost and how that comes about, once it is in the books."""
        if not record.ended:
            return None
        row = await self.orders.kept.store.read(partial(usage.get, usage_id=record.id))
        return None if row is None else Bill.of(row)

    async def picture(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """A small copy of a picture that a prediction was shown."""
        record = await self._find(exchange)
        data = await self.thumbnails.of(record, exchange.scope["path_params"]["number"])
        if data is None:
            raise PageError("The picture is not kept here, or cannot be read.")
        return Answer(data, 200, "image/webp", {**GUARDS, "cache-control": "private, max-age=86400"})

    async def cancel(self, service: Service, exchange: Exchange, fields: Fields) -> Answer:
        """Stop a prediction; one that has ended meanwhile is shown as it ended."""
        record = await self._find(exchange)
        if not record.ended:
            record = await self.orders.stop(record)
        return see_other(f"{PATH}/{record.id}")

    async def retry(self, service: Service, exchange: Exchange, fields: Fields) -> Answer:
        """Ask for the same once more; the page of the new prediction follows."""
        record = await self._find(exchange)
        try:
            return see_other(f"{PATH}/{(await self.orders.repeat(record)).id}")
        except OpenAIError as error:
            raise PageError(str(error), error.status, "It cannot be run again") from None

    async def _find(self, exchange: Exchange) -> PredictionRecord:
        try:
            return await self.orders.find(exchange, caller_of(exchange).sees)
        except OpenAIError as error:
            raise PageError(str(error), error.status, "No such prediction") from None


def _row(record: PredictionRecord) -> Part:
    values = {"record": record, "says": " ".join("".join(record.output[:200]).split())[:160]}
    return Part.of(f"p-{record.id}", "operations/prediction_row.html", not record.ended, values)


_LISTING = Listing("predictions", PATH, ("status", "model", "dialect", "text"), _row)


def _soon(due_us: int | None, now: int) -> bool:
    """Whether something is told within a minute."""
    return due_us is not None and due_us < now + 60_000_000


def _rate(record: PredictionRecord) -> float | None:
    """Tokens per second after the first one, once all are known."""
    if record.completed_us is None or record.first_token_us is None or record.completion_tokens < 2:
        return None
    seconds = (record.completed_us - record.first_token_us) / 1e6
    return (record.completion_tokens - 1) / seconds if seconds > 0 else None


def _given(record: PredictionRecord) -> list[tuple[str, str, bool]]:
    """What was asked: each field, its text, and whether that is prose."""
    return [
        (name, value if isinstance(value, str) else _json(value), isinstance(value, str))
        for name, value in record.input.items()
    ]


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _pictures(record: PredictionRecord) -> list[tuple[int, bool]]:
    """The number of each picture, and whether it is kept here."""
    return [(number, source.startswith(FILE)) for number, source in enumerate(sources(record))]
