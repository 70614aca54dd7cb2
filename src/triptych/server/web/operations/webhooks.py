"""Pages about webhooks: what was told, what is to be told, and every try."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import msgspec

from ...admin_webhooks import STATES, WebhookOrders
from ...dialects.openai.errors import OpenAIError
from ...exchange import Answer, Exchange
from ...service import Service
from ...store import webhooks as statements
from ...store.webhooks import WebhookRecord
from ..page_routes import PageError
from ..pages import shown
from ..posted import Fields, see_other
from . import live
from .listing import PAGE, Listing
from .live import Part
from .who import caller_of

PATH = "/app/webhooks"
_EVERY = "2s"


@dataclass(frozen=True, slots=True)
class WebhookPages:
    """The handlers."""

    orders: WebhookOrders

    async def list_all(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Messages, the newest first; with `seen` those of a page that changed since."""
        sees = caller_of(exchange).sees
        if (has := live.asked(exchange)) is not None:
            return await _LISTING.changes(exchange, has, partial(self._get, owner=sees))
        try:
            found = await self.orders.page(exchange.query, sees, PAGE + 1)
        except OpenAIError as error:
            raise PageError(str(error), error.status, "That cannot be looked for") from None
        return _LISTING.page(exchange, found, states=STATES)

    async def _get(self, webhook_id: str, owner: str | None) -> WebhookRecord | None:
        return await self.orders.store.read(partial(statements.get, webhook_id=webhook_id, owner=owner))

    async def show(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """One message with its body and its tries; with `seen` the parts of its page that changed since."""
        record = await self._find(exchange)
        path, waiting = f"{PATH}/{record.id}", record.state == "waiting"
        values = {"record": record, "tries": await self.orders.tries(record)}
        parts = [
            Part.of(name, f"operations/webhook/{name}.html", waiting, values) for name in ("status", "tries")
        ]
        if (has := live.asked(exchange)) is not None:
            return live.changes(exchange, path, parts, has, _EVERY)
        return shown(
            exchange, "operations/webhook.html", section="webhooks", record=record, said=_pretty(record.body),
            parts_of={part.id: part.html for part in parts}, asking=live.asking(path, parts, _EVERY),
        )  # fmt: skip

    async def replay(self, service: Service, exchange: Exchange, fields: Fields) -> Answer:
        """Send a message once more, now."""
        record = await self.orders.repeat(await self._find(exchange))
        return see_other(f"{PATH}/{record.id}")

    async def _find(self, exchange: Exchange) -> WebhookRecord:
        try:
            return await self.orders.find(exchange, caller_of(exchange).sees)
        except OpenAIError as error:
            raise PageError(str(error), error.status, "No such webhook") from None


def _row(record: WebhookRecord) -> Part:
    return Part.of(f"w-{record.id}", "operations/webhook_row.html", record.state == "waiting", {"record": record})


_LISTING = Listing("webhooks", PATH, ("state", "prediction"), _row)


def _pretty(body: str) -> str:
    """A message's body with its JSON laid out; another one as it is."""
    try:
        return msgspec.json.format(body, indent=2)
    except msgspec.DecodeError:
        return body
