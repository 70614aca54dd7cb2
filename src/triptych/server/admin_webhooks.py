"""What operators ask and order about webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .asked import known, page_size, seconds, stored_id
from .delivery.webhooks import Deliverer
from .dialects.openai.errors import OpenAIError
from .dialects.openai.form import to_json
from .exchange import Answer, Exchange
from .service import Service
from .store import webhooks as statements
from .store.store import Store
from .store.webhooks import AttemptRecord, WebhookRecord

STATES = ("waiting", "delivered", "given_up", "moot")


class WebhookLine(msgspec.Struct):
    """A message as operators see it; times are in seconds since 1970."""

    id: Annotated[str, Meta(description="What receivers get as `webhook-id`.")]
    prediction: str
    event: Literal["start", "output", "logs", "completed"]
    kind: Annotated[str, Meta(description="How it goes, such as `webhook`: posted, as JSON.")]
    url: str
    state: Annotated[
        Literal["waiting", "delivered", "given_up", "moot"], Meta(description="`moot`: a newer one tells more.")
    ]
    tries: int
    created_at: float
    due_at: Annotated[float | None, Meta(description="When it is tried next.")]
    ended_at: float | None


class WebhookLines(msgspec.Struct):
    webhooks: list[WebhookLine]
    more: Annotated[bool, Meta(description="Whether there are older ones.")]


class Attempt(msgspec.Struct):
    number: int
    started_at: float
    seconds: float
    status: Annotated[int | None, Meta(description="Of the answer, if there was one.")]
    error: str | None


class WholeWebhook(WebhookLine):
    """Also what it says, and every try."""

    body: str
    attempts: list[Attempt]


class NewSecret(msgspec.Struct):
    key: str


@dataclass(frozen=True, slots=True)
class WebhookOrders:
    """The handlers."""

    store: Store
    deliverer: Deliverer

    async def list_all(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """What was told of predictions and what is to be told, the newest first."""
        limit = page_size(exchange.query)
        found = await self.page(exchange.query, exchange.sees, limit + 1)
        lines = [describe_webhook(record) for record in found[:limit]]
        return Answer(to_json({"webhooks": lines, "more": len(found) > limit}))

    async def show(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """One message with its body and every try to deliver it."""
        record = await self.find(exchange, exchange.sees)
        attempts = [_describe_attempt(each) for each in await self.tries(record)]
        return Answer(to_json({**describe_webhook(record), "body": record.body, "attempts": attempts}))

    async def replay(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Send a message once more, at once, under its own id, whatever became of it."""
        return Answer(to_json(describe_webhook(await self.repeat(await self.find(exchange, exchange.sees)))))

    async def rotate(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Make a new secret for signing. For a day the one before signs too, so receivers may change over meanwhile."""
        return Answer(to_json({"key": await self.deliverer.secrets.rotate(exchange.owner)}))

    # ---- what pages do as well --------------------------------------------------------------------------------------

    async def page(self, query: Mapping[str, str], owner: str | None, limit: int) -> list[WebhookRecord]:
        """Up to `limit` messages about predictions of the owner (None: of anybody) that a query asks for, the newest
        first. Raises OpenAIError.
        """
        work = partial(
            statements.page, owner=owner, prediction_id=stored_id(query, "prediction"),
            state=known(query, "state", STATES), below=stored_id(query, "before"), limit=limit,
        )  # fmt: skip
        return await self.store.scan(work)

    async def tries(self, record: WebhookRecord) -> list[AttemptRecord]:
        """Every try to deliver a message, the first one first."""
        return await self.store.read(partial(statements.attempts, webhook_id=record.id))

    async def repeat(self, record: WebhookRecord) -> WebhookRecord:
        """The message as it waits to be sent again."""
        return await self.deliverer.replay(record.id) or record

    async def find(self, exchange: Exchange, owner: str | None) -> WebhookRecord:
        """The message that the path names, if it tells of a prediction of the owner (None: of anybody). Raises
        OpenAIError.
        """
        wanted = exchange.scope["path_params"]["webhook_id"]
        found = None
        if wanted.isascii() and wanted.isalnum():
            found = await self.store.read(partial(statements.get, webhook_id=wanted, owner=owner))
        if found is None:
            raise OpenAIError(f"There is no webhook {wanted[:80]!r}.", None, "not_found", 404)
        return found


def describe_webhook(record: WebhookRecord) -> dict[str, Any]:
    """A message in a line."""
    return {
        "id": record.id,
        "prediction": record.prediction_id,
        "event": record.event,
        "kind": record.kind,
        "url": record.url,
        "state": record.state,
        "tries": record.attempts,
        "created_at": seconds(record.created_us),
        "due_at": seconds(record.due_us),
        "ended_at": seconds(record.ended_us),
    }


def _describe_attempt(record: AttemptRecord) -> dict[str, Any]:
    return {
        "number": record.number,
        "started_at": seconds(record.started_us),
        "seconds": round(record.seconds_us / 1e6, 6),
        "status": record.status,
        "error": record.error,
    }
