"""What operators ask and order about predictions. A key sees, and deletes, what was made with it,
an administrator's what was made with any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .admin_webhooks import WebhookLine, describe_webhook
from .asked import known, page_size, seconds, stored_id
from .dialects.openai.errors import OpenAIError, invalid, missing, read_body
from .dialects.openai.form import to_json
from .exchange import Answer, Exchange
from .predictions.kept import KeptPredictions
from .predictions.predictions import NeverRunsError, RemovedError
from .predictions.retention import purge
from .service import Service
from .store import webhooks as messages
from .store.ids import now_us
from .store.predictions import Filter, PredictionRecord
from .store.webhooks import WebhookRecord

STATES = ("starting", "processing", "succeeded", "failed", "canceled")
# Those that make predictions.
DIALECTS = ("replicate", "runware")


class PredictionLine(msgspec.Struct):
    """A prediction as operators see it; times are in seconds since 1970."""

    id: str
    dialect: str
    model: Annotated[str, Meta(description="The served model that runs it.")]
    status: Literal["starting", "processing", "succeeded", "failed", "canceled"]
    error: str | None
    created_at: float
    started_at: float | None
    completed_at: float | None
    prompt_tokens: int
    cached_tokens: int
    image_tokens: int
    completion_tokens: int
    attempt: Annotated[int, Meta(description="How often a server took it up.")]
    webhook: str | None
    data_removed: bool


class PredictionLines(msgspec.Struct):
    predictions: list[PredictionLine]
    more: Annotated[bool, Meta(description="Whether there are older ones.")]


class WholePrediction(PredictionLine):
    """Also what it was asked, what it said, and what was told of it."""

    input: dict[str, Any]
    output: list[str]
    logs: str
    webhooks: list[WebhookLine]


class Purge(msgspec.Struct):
    """What is to be deleted."""

    older_than: Annotated[float, Meta(ge=0)] | UnsetType = UNSET


class Purged(msgspec.Struct):
    deleted: Annotated[int, Meta(description="Predictions that are not there any more.")]


_purge_decoder = msgspec.json.Decoder(Purge)


@dataclass(frozen=True, slots=True)
class PredictionOrders:
    """The handlers."""

    kept: KeptPredictions

    async def list_all(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Predictions, the newest first."""
        limit = page_size(exchange.query)
        found = await self.kept.predictions.page(wanted(exchange.query, exchange.sees), limit + 1)
        lines = [describe(record) for record in found[:limit]]
        return Answer(to_json({"predictions": lines, "more": len(found) > limit}))

    async def show(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """One prediction with its input, output and logs, and what was told of it."""
        return Answer(to_json(await self._whole(await self.find(exchange, exchange.sees))))

    async def cancel(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Stop a prediction that has not ended; what it said so far is kept."""
        return Answer(to_json(describe(await self.stop(await self.find(exchange, exchange.sees)))))

    async def retry(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Ask once more for what a prediction that has ended was asked, as a new prediction."""
        return Answer(to_json(describe(await self.repeat(await self.find(exchange, exchange.sees)))))

    async def purge(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Delete predictions that ended longer ago than this, with their files and all that was told of them. Those of
        which something is still to be told stay.
        """
        older_than = read_body(_purge_decoder, body).older_than
        if isinstance(older_than, UnsetType):
            raise missing("older_than")
        if older_than > 1e10:
            raise invalid("older_than", "older_than must be a number of seconds up to 1e10.")
        before = now_us() - round(older_than * 1e6)
        return Answer(to_json({"deleted": await purge(self.kept.store, exchange.sees, before)}))

    # ---- what pages do as well --------------------------------------------------------------------------------------

    async def find(self, exchange: Exchange, owner: str | None) -> PredictionRecord:
        """The prediction that the path names, if it is the owner's (None: whoever's). Raises OpenAIError."""
        wanted = exchange.scope["path_params"]["prediction_id"]
        found = None
        if wanted.isascii() and wanted.isalnum():
            found = await self.kept.predictions.get(wanted, owner)
        if found is None:
            raise OpenAIError(f"There is no prediction {wanted[:80]!r}.", None, "not_found", 404)
        return found

    async def stop(self, record: PredictionRecord) -> PredictionRecord:
        """The prediction once it was told to stop. Raises OpenAIError if it has ended already."""
        if record.ended:
            raise _conflict(f"The prediction {record.id} has ended already: it is {record.status}.", "already_ended")
        return await self.kept.predictions.cancel(record)

    async def repeat(self, record: PredictionRecord) -> PredictionRecord:
        """The new prediction that asks for the same. Raises OpenAIError if `record` has not ended, was forgotten,
        or can never run.
        """
        if not record.ended:
            raise _conflict(f"The prediction {record.id} has not ended yet: it is {record.status}.", "not_ended")
        try:
            return await self.kept.predictions.again(record)
        except RemovedError:
            told = f"The input of the prediction {record.id} was removed, so it cannot be run again."
            raise _conflict(told, "data_removed") from None
        except NeverRunsError as error:
            told = f"The prediction {record.id} cannot be run as it was asked: {error}"
            raise _conflict(told, "cannot_run") from None

    async def told(self, record: PredictionRecord) -> list[WebhookRecord]:
        """What was told of a prediction, and what is to be told; the first message first."""
        found = await self.kept.store.read(partial(messages.page, prediction_id=record.id, limit=1000))
        return found[::-1]

    async def _whole(self, record: PredictionRecord) -> dict[str, Any]:
        return {
            **describe(record),
            "input": record.input,
            "output": list(record.output),
            "logs": record.logs,
            "webhooks": [describe_webhook(message) for message in await self.told(record)],
        }


def wanted(query: Mapping[str, str], owner: str | None) -> Filter:
    """Which predictions of the owner (None: of all) a query asks for. Raises OpenAIError."""
    return Filter(
        owner=owner, status=known(query, "status", STATES), dialect=known(query, "dialect", DIALECTS),
        model=query.get("model") or None, part=stored_id(query, "text"), below=stored_id(query, "before"),
    )  # fmt: skip


def _conflict(message: str, code: str) -> OpenAIError:
    return OpenAIError(message, None, code, 409)


def describe(record: PredictionRecord) -> dict[str, Any]:
    """A prediction in a line."""
    return {
        "id": record.id,
        "dialect": record.dialect,
        "model": record.model,
        "status": record.status,
        "error": record.error,
        "created_at": seconds(record.created_us),
        "started_at": seconds(record.started_us),
        "completed_at": seconds(record.completed_us),
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "image_tokens": record.image_tokens,
        "completion_tokens": record.completion_tokens,
        "attempt": record.attempt,
        "webhook": record.webhook,
        "data_removed": record.removed_us is not None,
    }
