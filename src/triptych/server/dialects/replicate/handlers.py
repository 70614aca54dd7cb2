"""Everything behind the dialect's routes."""

from __future__ import annotations

from dataclasses import dataclass

from ...predictions.kept import KeptPredictions
from ...records import Records
from ...service import Service
from .account import AccountRoutes
from .catalog import Catalog
from .create import CreateRoutes
from .files import FileRoutes
from .models import ModelRoutes
from .predictions import PredictionRoutes
from .streams import StreamRoutes
from .webhooks import SecretRoutes


@dataclass(frozen=True, slots=True)
class Handlers:
    """All handlers, by their nouns."""

    create: CreateRoutes
    predictions: PredictionRoutes
    streams: StreamRoutes
    models: ModelRoutes
    account: AccountRoutes
    files: FileRoutes
    secret: SecretRoutes

    @classmethod
    def of(cls, records: Records, service: Service, kept: KeptPredictions) -> Handlers:
        """The handlers of a server that keeps records."""
        catalog, predictions, deliverer = Catalog(service.router), kept.predictions, kept.deliverer
        return cls(
            CreateRoutes(predictions, records.files, catalog, deliverer.check), PredictionRoutes(predictions),
            StreamRoutes(predictions), ModelRoutes(catalog), AccountRoutes(catalog),
            FileRoutes(records.store, records.files), SecretRoutes(deliverer.secrets),
        )  # fmt: skip
