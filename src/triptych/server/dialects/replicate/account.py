"""What surrounds models: the account, the hardware, collections, deployments, trainings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...exchange import Answer, Exchange
from ...service import Service
from .catalog import Catalog, Published
from .errors import fixed, not_found
from .family import LLAVA, MIXTRAL, Family
from .form import answer, base_of, page
from .models import describe, version

ACCOUNT: dict[str, Any] = {
    "type": "user", "username": "local", "name": "Local server", "github_url": None, "avatar_url": None,
}  # fmt: skip

# By Replicate's own slugs.
_COLLECTIONS: dict[str, tuple[Family, str, str]] = {
    "vision-models": (LLAVA, "Vision models", "Models that read images and answer with text."),
    "language-models": (MIXTRAL, "Language models", "Models that read and write text."),
}


@dataclass(frozen=True, slots=True)
class AccountRoutes:
    """The handlers. Everything is as the operator set it up, so nothing can be changed."""

    catalog: Catalog

    async def account(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Whose server it is: there is one account, whatever the key."""
        return answer(ACCOUNT)

    async def hardware(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """What the models run on, as far as any has run."""
        return answer([{"name": _hardware_name(sku), "sku": sku} for sku in _skus(service)])

    async def collections(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """The collections that have a model."""
        return answer(page([_collection(slug) for slug in _COLLECTIONS if self._members(slug)]))

    async def collection(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """A collection with its models."""
        slug = exchange.scope["path_params"]["slug"]
        if slug not in _COLLECTIONS or not (members := self._members(slug)):
            raise not_found()
        models = [describe(published, base_of(exchange)) for published in members]
        return answer({**_collection(slug), "full_description": None, "models": models})

    def _members(self, slug: str) -> list[Published]:
        family = _COLLECTIONS[slug][0]
        return [published for published in self.catalog.all if published.family is family]

    async def deployments(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """One for each name of a model."""
        return answer(page([_deployment(published) for published in self.catalog.all]))

    async def deployment(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """The deployment of a model's name."""
        return answer(_deployment(self.catalog.find(exchange.scope["path_params"]["deployment"])))

    async def refuse(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Deployments are not made, changed or deleted over this API."""
        raise fixed("The deployments")

    async def trainings(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """There are none."""
        return answer(page([]))

    async def training(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """There is none."""
        raise not_found("This server trains no models.")


def _skus(service: Service) -> list[str]:
    devices = [model.info.device for model in service.router.models if model.info is not None and model.info.device]
    return list(dict.fromkeys(devices)) or ["cpu"]


def _hardware_name(sku: str) -> str:
    return "CPU" if sku == "cpu" else f"This server's {sku}"


def _collection(slug: str) -> dict[str, Any]:
    _, name, description = _COLLECTIONS[slug]
    return {"name": name, "slug": slug, "description": description}


def _deployment(published: Published) -> dict[str, Any]:
    info = published.backend.info
    return {
        "owner": published.owner,
        "name": published.name,
        "current_release": {
            "number": 1,
            "model": published.model,
            "version": published.version,
            "created_at": version(published)["created_at"],
            "created_by": ACCOUNT,
            "configuration": {
                "hardware": (info.device if info is not None else "") or "cpu", "min_instances": 0, "max_instances": 1,
            },
        },
    }  # fmt: skip
