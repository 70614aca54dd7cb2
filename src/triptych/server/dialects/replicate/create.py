"""New predictions: by version, by model, by deployment."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from ....engine.request import SamplingParams
from ...delivery.addresses import RefusedError as RefusedAddressError
from ...exchange import Answer, Exchange
from ...files.library import FileLibrary
from ...generation import ChatPrompt, Generation
from ...predictions.predictions import NewPrediction, Predictions
from ...predictions.stored import StoredGeneration
from ...service import Service
from ...store.predictions import PredictionRecord
from . import llava
from .catalog import Catalog, Published
from .errors import Invalid, ProblemError, RefusedError, invalid
from .form import answer, base_of
from .images import keep, shortened
from .preferences import read_cancel_after, read_prefer
from .shown import DIALECT, Shown, not_in_time, render
from .wire import EVENTS, ModelPrediction, by_model, by_version, read_body

SERVED = "x-triptych-model"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# One client sends, by mistake, itself as input: with the caller's token.
_CLIENT_ITSELF = ("auth", "baseUrl")
# How the one client calls itself that has image models only, and fetches what it is told as if it were their URLs.
_IMAGE_CLIENT = "ai-sdk/replicate"
_NOTHING = StoredGeneration(ChatPrompt([]), SamplingParams())


@dataclass(frozen=True, slots=True)
class CreateRoutes:
    """The handlers. `check` raises RefusedAddressError for a webhook to which nothing is ever sent."""

    predictions: Predictions
    files: FileLibrary
    catalog: Catalog
    check: Callable[[str], None]

    async def by_version(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Create a prediction by a version, in each of its forms."""
        request = read_body(by_version, body)
        if not request.version:
            raise invalid(Invalid("required", "", "version is required"))
        return await self._create(service, exchange, body, request, self.catalog.asked(request.version))

    async def by_model(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Create a prediction by the newest version of a model."""
        published = self.catalog.find(exchange.scope["path_params"]["model"])
        return await self._create(service, exchange, body, read_body(by_model, body), published)

    async def by_deployment(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Create a prediction by a deployment: there is one for each name of a model."""
        published = self.catalog.find(exchange.scope["path_params"]["deployment"])
        request = read_body(by_model, body)
        return await self._create(service, exchange, body, request, published, published.model)

    async def _create(
        self, service: Service, exchange: Exchange, body: bytes, request: ModelPrediction, published: Published,
        deployment: str | None = None,
    ) -> Answer:  # fmt: skip
        begun = time.monotonic()
        _refuse_image_clients(exchange)
        given = _given(request)
        values = published.family.values(given)
        url, events = self._webhook(request)
        lasts = read_cancel_after(exchange.headers.get("cancel-after"))
        key = _idempotency_key(exchange)
        asked = hashlib.sha256(exchange.scope["path"].encode() + b"\0" + body).hexdigest()
        shown = Shown(published.model, published.version, base_of(exchange), asked, deployment)
        generation, told, refused = await self._prepare(service, exchange, published, given, values)
        generation = msgspec.structs.replace(generation, called=published.model)
        new = NewPrediction(
            owner=exchange.owner, dialect=DIALECT, model=published.backend.name, generation=generation,
            shown=asdict(shown), input=told, logs=_first_lines(published, given), lasts=lasts, webhook=url,
            webhook_events=events, idempotency_key=key,
        )  # fmt: skip
        if refused:
            record = await self.predictions.refuse(new, refused)
        else:
            later = Generation(new.id, generation.prompt, generation.params, dialect=DIALECT)
            exchange.limits |= await service.admit(
                exchange.owner, published.backend, later, published.model, len(generation.sources)
            )
            record = await self.predictions.create(new)
        if record.id != new.id and Shown.of(record).asked != asked:
            raise ProblemError(422, "This Idempotency-Key was used for another request already.")
        exchange.told["model"] = record.model
        return await self._answer(exchange, record, begun)

    async def _prepare(
        self, service: Service, exchange: Exchange, published: Published, given: Mapping[str, Any],
        values: Mapping[str, Any],
    ) -> tuple[StoredGeneration, dict[str, Any], str]:  # fmt: skip
        """What runs, the input as it is shown, and why it cannot run, if it cannot."""
        told = {name: shortened(value) if isinstance(value, str) else value for name, value in given.items()}
        try:
            source = None
            if published.family.vision and values[llava.IMAGE] is not None:
                image = await keep(service, self.files, exchange, values[llava.IMAGE])
                source, told[llava.IMAGE] = image.source, image.shown
            return published.family.generation(values, given, source, published.backend), told, ""
        except RefusedError as error:
            return _NOTHING, told, str(error)

    async def _answer(self, exchange: Exchange, record: PredictionRecord, begun: float) -> Answer:
        """At once, or as soon as it has ended if the caller wants to wait, but in time for the caller's patience, which
        began when the request was here, at `begun`.
        """
        base, wait = base_of(exchange), read_prefer(exchange.headers.get("prefer", ""))
        headers = {"location": f"{base}/predictions/{record.id}", SERVED: record.model}
        status = 201
        if wait is not None:
            record = await self._within(record, wait.hold - (time.monotonic() - begun))
            status = 201 if record.ended else 202
            headers["preference-applied"] = wait.applied
            if not record.ended:
                record = not_in_time(record)
        return answer(render(record, base), status, headers)

    async def _within(self, record: PredictionRecord, seconds: float) -> PredictionRecord:
        if record.ended or seconds <= 0:
            return record
        return await self.predictions.wait(record.id, seconds) or record

    def _webhook(self, request: ModelPrediction) -> tuple[str | None, tuple[str, ...]]:
        """Where to tell of it, and which events; none named means all. Raises ProblemError."""
        for field in ("webhook", "webhook_completed"):
            if url := getattr(request, field):
                self._check(field, url)
        events = tuple(dict.fromkeys(request.webhook_events_filter or ()))
        for event in events:
            if event not in EVENTS:
                named = ", ".join(f'"{each}"' for each in EVENTS)
                told = f"webhook_events_filter must be one of the following: {named}"
                raise invalid(Invalid("enum", "webhook_events_filter", told))
        if request.webhook:
            return request.webhook, events
        return (request.webhook_completed, ("completed",)) if request.webhook_completed else (None, ())

    def _check(self, field: str, url: str) -> None:
        try:
            self.check(url)
        except RefusedAddressError as error:
            raise invalid(Invalid("format", field, str(error))) from None


def _refuse_image_clients(exchange: Exchange) -> None:
    """Raises ProblemError for a client that takes every output for the address of an image."""
    if _IMAGE_CLIENT in exchange.headers.get("user-agent", ""):
        raise ProblemError(
            422,
            "The models of this server answer with text, and @ai-sdk/replicate makes images alone. For text use "
            "@ai-sdk/openai-compatible with this server's /v1 as its base URL.",
            "Model not supported by this client",
        )


def _given(request: ModelPrediction) -> dict[str, Any]:
    """The input. Raises ProblemError without one, and for one that is a client: it is neither kept nor repeated."""
    if request.input is None:
        raise invalid(Invalid("required", "", "input is required"))
    if all(name in request.input for name in _CLIENT_ITSELF):
        raise invalid(
            Invalid(
                "invalid_type", "input",
                "this is the client itself, with its token, not an input: a known fault of fileEncodingStrategy "
                '"data-uri" in the JavaScript client; leave that option out',
            )
        )  # fmt: skip
    return request.input


def _idempotency_key(exchange: Exchange) -> str | None:
    key = exchange.headers.get("idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise ProblemError(422, "Idempotency-Key must be 1 to 255 printable characters without spaces.")
    return f"{DIALECT}:{key}"


def _first_lines(published: Published, given: Mapping[str, Any]) -> str:
    """How the log of a prediction begins: who answers, and what of the input has no effect."""
    lines = [f"{published.model}: {published.about}"]
    if unknown := published.family.unknown(given):
        lines.append(f"ignored: {', '.join(name[:40] for name in unknown[:20])}")
    return "".join(f"{line}\n" for line in lines)
