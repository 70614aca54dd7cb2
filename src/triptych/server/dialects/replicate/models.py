"""Models and their versions, as a fixed catalogue: what this server serves, under each name it answers to."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ...exchange import Answer, Exchange
from ...service import Service
from .catalog import Catalog, Published
from .errors import ProblemError, fixed, not_found
from .form import answer, base_of, page, time_of

_STARTED = time.time_ns() // 1000
# Clients compare it: below 0.3.9 they read schemas otherwise.
_COG = "0.16.0"
_SORTS = ("model_created_at", "latest_version_created_at")
_DIRECTIONS = ("asc", "desc")
_MOST_FOUND, _USUALLY_FOUND = 50, 20


def describe(published: Published, base: str) -> dict[str, Any]:
    """A model, under the name that was asked for."""
    return {
        "url": f"{base}/models/{published.model}",
        "owner": published.owner,
        "name": published.name,
        "description": published.about,
        "visibility": "public",
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "cover_image_url": None,
        "run_count": 0,
        "is_official": False,
        "default_example": None,
        "latest_version": version(published),
    }


def version(published: Published) -> dict[str, Any]:
    """A version of a model."""
    return {
        "id": published.version,
        "created_at": time_of(_STARTED),
        "cog_version": _COG,
        "openapi_schema": published.family.openapi_schema(),
    }


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """The handlers."""

    catalog: Catalog

    async def list_all(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """All models under all their names. All began with the server, so no order says more than another."""
        query = exchange.query
        for name, allowed in (("sort_by", _SORTS), ("sort_direction", _DIRECTIONS)):
            if query.get(name) and query[name] not in allowed:
                raise ProblemError(422, f"{name} must be one of {', '.join(allowed)}.")
        return answer(page(self._described(self.catalog.all, exchange)))

    async def query(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Models for a text, which is the body: some clients send it as it is, others as a JSON string."""
        return answer(page(self._described(self._found(_search_text(body)), exchange)))

    async def search(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Models for a text, which is in the query."""
        text, limit = exchange.query.get("query"), exchange.query.get("limit", str(_USUALLY_FOUND))
        if not text:
            raise ProblemError(400, "The query parameter is required.")
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= _MOST_FOUND):
            raise ProblemError(422, f"limit must be a whole number from 1 to {_MOST_FOUND}.")
        found = self._described(self._found(text)[: int(limit)], exchange)
        models = [{"model": model, "metadata": {}} for model in found]
        return answer({"query": text, "models": models, "collections": [], "pages": []})

    async def retrieve(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """A model by any of its names."""
        return answer(describe(self._named(exchange), base_of(exchange)))

    async def versions(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """The versions under a name: ours, and those that public code pins."""
        published = self._named(exchange)
        ids = published.versions
        return answer(page([version(_as(published, each)) for each in ids]))

    async def version(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """A version, whichever name stands before it: clients send it alone when they create a prediction."""
        params = exchange.scope["path_params"]
        try:
            return answer(version(self.catalog.of(params["model"], params["version_id"])))
        except ProblemError as problem:
            raise not_found(problem.detail) from None

    async def examples(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """None are kept."""
        self._named(exchange)
        return answer(page([]))

    async def readme(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """What a model is and takes, in Markdown."""
        published = self._named(exchange)
        inputs = "".join(f"* `{each.name}`: {each.description}\n" for each in published.family.inputs)
        text = f"# {published.model}\n\n{published.about}\n\n## Input\n\n{inputs}"
        return Answer(text.encode(), content_type="text/plain; charset=utf-8")

    async def refuse(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Models are not made, changed or deleted over this API."""
        raise fixed("The models")

    async def refuse_training(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Nothing is trained here."""
        raise ProblemError(422, "This server trains no models.", "Training not supported")

    def _named(self, exchange: Exchange) -> Published:
        return self.catalog.find(exchange.scope["path_params"]["model"])

    def _found(self, text: str) -> list[Published]:
        """Models with all words of a text in what is said of them: first those whose name has it as it is, then those
        whose name has most of the words.
        """
        words = re.findall(r"[\w.]+", text.lower())
        told = [(published, f"{published.model} {published.about}".lower()) for published in self.catalog.all]
        found = [published for published, about in told if words and all(word in about for word in words)]
        whole = text.strip().lower()

        def order(published: Published) -> tuple[bool, int]:
            name = published.model.lower()
            return whole not in name, -sum(word in name for word in words)

        return sorted(found, key=order)

    @staticmethod
    def _described(found: Sequence[Published], exchange: Exchange) -> list[dict[str, Any]]:
        return [describe(published, base_of(exchange)) for published in found]


def _as(published: Published, version_id: str) -> Published:
    return Published(published.owner, published.name, published.backend, version_id)


def _search_text(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    try:
        return msgspec.json.decode(text, type=str)
    except msgspec.DecodeError:
        return text
