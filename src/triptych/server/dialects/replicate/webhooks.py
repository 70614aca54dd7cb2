"""Webhooks on their way out: what is told of a prediction, and the secret that it is signed with."""

from __future__ import annotations

from dataclasses import dataclass

from ...delivery.webhook_secrets import WebhookSecrets
from ...exchange import Answer, Exchange
from ...service import Service
from ...store.ids import new_id, now_us
from ...store.predictions import PredictionRecord
from ...store.webhooks import WebhookRecord
from .form import answer, to_json
from .shown import Shown, render


def tell(record: PredictionRecord, event: str) -> list[WebhookRecord]:
    """The webhook of an event, if the caller wanted to hear of it: the prediction as GET would show it."""
    if record.webhook is None or (record.webhook_events and event not in record.webhook_events):
        return []
    now = now_us()
    body = to_json(render(record, Shown.of(record).base)).decode()
    return [WebhookRecord(new_id(), record.id, event, record.webhook, body, now, now)]


@dataclass(frozen=True, slots=True)
class SecretRoutes:
    """The handler."""

    secrets: WebhookSecrets

    async def retrieve(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """What the caller's webhooks are signed with."""
        current, *_ = await self.secrets.of(exchange.owner)
        return answer({"key": current})
