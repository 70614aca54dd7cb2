"""Files and batches: what the dialect has routes for when the server keeps records."""

from __future__ import annotations

from dataclasses import dataclass

from ...batches.worker import BatchWorker
from ...files.library import FileLibrary
from ...records import Records
from ...service import Service
from .batches import BatchRoutes
from .files import FileRoutes
from .perform import Performer


@dataclass(frozen=True, slots=True)
class Kept:
    """The handlers, and what works behind them from `start` to `stop`."""

    files: FileLibrary
    worker: BatchWorker
    file_routes: FileRoutes
    batch_routes: BatchRoutes

    @classmethod
    def of(cls, records: Records, service: Service) -> Kept:
        """Nothing of it started."""
        worker = BatchWorker(records.store, records.files, Performer(service))
        return cls(
            records.files, worker, FileRoutes(records.files), BatchRoutes(records.store, records.files, worker)
        )

    async def start(self) -> None:
        """Begin to delete what expires, and go on with batches that were left. Raises StoreError."""
        self.files.start()
        await self.worker.start()

    async def stop(self) -> None:
        """Leave batches to the next start."""
        await self.worker.stop()
        await self.files.stop()
