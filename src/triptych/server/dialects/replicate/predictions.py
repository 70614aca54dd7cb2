"""Predictions that are there: one, a page of them, and the end of one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ...exchange import Answer, Exchange
from ...predictions.predictions import Predictions
from ...service import Service
from ...store.predictions import Filter, PredictionRecord
from .create import SERVED
from .errors import ProblemError, not_found
from .form import answer, base_of, page
from .paging import cursor_of, paged
from .shown import DIALECT, render

_PAGE = 100
_FILTERS = ("created_after", "created_before", "source")


@dataclass(frozen=True, slots=True)
class PredictionRoutes:
    """The handlers."""

    predictions: Predictions

    async def retrieve(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """A prediction as it is now."""
        return _shown(exchange, await self._find(exchange))

    async def cancel(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Stop a prediction; one that has ended stays as it is."""
        return _shown(exchange, await self.predictions.cancel(await self._find(exchange)))

    async def list_all(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """The caller's predictions, the newest first."""
        query = exchange.query
        base, at = base_of(exchange), cursor_of(query.get("cursor"))
        filters = {name: query[name] for name in _FILTERS if query.get(name)}
        only = Filter(
            owner=exchange.owner, dialect=DIALECT, below=at.below, above=at.above,
            from_us=_time("created_after", filters), before_us=_time("created_before", filters),
        )  # fmt: skip
        if filters.get("source", "api") not in ("api", "web"):
            raise ProblemError(422, "source must be web or left out.")
        # All of them came over the API.
        rows = [] if filters.get("source") == "web" else await self.predictions.page(only, _PAGE + 1)
        shown, following, previous = paged(rows, _PAGE, at, f"{base}/predictions", filters)
        return answer(page([render(record, base) for record in shown], following, previous))

    async def _find(self, exchange: Exchange) -> PredictionRecord:
        record = await self.predictions.get(exchange.scope["path_params"]["prediction_id"], exchange.owner)
        if record is None or record.dialect != DIALECT:
            raise not_found()
        return record


def _shown(exchange: Exchange, record: PredictionRecord) -> Answer:
    exchange.told["model"] = record.model
    return answer(render(record, base_of(exchange)), headers={SERVED: record.model})


def _time(name: str, query: dict[str, str]) -> int | None:
    """A moment of the query in microseconds. Raises ProblemError."""
    if name not in query:
        return None
    text = query[name].strip().replace(" ", "+") if "T" in query[name] else query[name].strip()  # a + not encoded
    try:
        moment = datetime.fromisoformat(text)
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ProblemError(422, f"{name} must be a time in ISO 8601, such as 2026-03-02T09:15:00Z.") from None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
