"""Predictions and all that works behind them, from `start` to `stop`."""

from __future__ import annotations

from dataclasses import dataclass

from ..delivery.post import Poster
from ..delivery.webhooks import Deliverer
from ..records import Records
from ..service import Service
from ..store.store import Store
from .predictions import Predictions
from .retention import Retention
from .run import Tell
from .worker import PredictionWorker


@dataclass(frozen=True, slots=True)
class KeptPredictions:
    """`worker` runs them, `deliverer` tells of them, `retention` forgets them."""

    store: Store
    predictions: Predictions
    worker: PredictionWorker
    deliverer: Deliverer
    retention: Retention

    @classmethod
    def of(
        cls, records: Records, service: Service, tell: Tell, poster: Poster, retention: float | None
    ) -> KeptPredictions:
        """Nothing of it started. `tell` makes the webhooks of every dialect; `retention` is in seconds."""
        deliverer = Deliverer(records.store, poster, service.metrics)
        worker = PredictionWorker(records.store, service, tell, told=deliverer.wake)
        predictions = Predictions(records.store, worker)
        return cls(records.store, predictions, worker, deliverer, Retention(records.store, retention))

    async def start(self) -> None:
        """Take up what an earlier server left. Raises StoreError."""
        await self.worker.start()
        self.deliverer.start()
        self.retention.start()

    async def stop(self) -> None:
        """Leave the rest to the next server."""
        await self.worker.stop()
        await self.retention.stop()
        await self.deliverer.stop()
