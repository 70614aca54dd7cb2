"""The task `caption`, which older clients call `imageCaption`: a durable prediction about one image."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import asdict

from ....engine.errors import QueueFullError
from ....engine.request import SamplingParams
from ...backend import Backend
from ...delivery.addresses import RefusedError
from ...files.library import FileLibrary
from ...generation import ChatPrompt, Generation, UnknownModelError
from ...predictions.predictions import NewPrediction, Predictions
from ...predictions.stored import StoredGeneration
from ...service import Service
from ...store.predictions import PredictionRecord
from . import images
from .begun import Begun, Item, Sender, Task
from .errors import TaskError, shown
from .fields import Fields, invalid
from .shown import DIALECT, MOST_TOKENS, Shown, acknowledged, cost, key_of, result

TYPES = ("caption", "imageCaption")
DEFAULT_MODEL = "runware:150@2"
DEFAULT_PROMPT = "Describe this image in detail."
# Seconds that an answer waits for its caption; the caption itself goes on, and can be polled.
PATIENCE = 300.0
_PARAMS = SamplingParams(max_tokens=MOST_TOKENS)
_ENCODER = msgspec.json.Encoder(order="deterministic")
_LARGE = 1 << 18
# Of a task as it is kept: the fields it may have, those that hold images, characters of texts and names, and parts.
_KEPT = (
    "taskType", "taskUUID", "model", "prompt", "inputs", "inputImage", "inputImages", "deliveryMethod", "includeCost",
    "webhookURL", "uploadEndpoint", "outputType", "outputFormat", "outputQuality", "ttl",
)  # fmt: skip
_IMAGES = ("image", "images", "video", "inputImage", "inputImages")
_MOST_KEPT, _MOST_NAME, _MOST_PARTS = 16_384, 100, 20


@dataclass(frozen=True, slots=True)
class Wish:
    """What a task says beside its question: whether it is only to be acknowledged, and whether its answer is waited for
    by its own word; where to tell of it; and whether the cost is wanted.
    """

    acknowledge: bool
    wait: bool
    cost: bool
    webhook: str | None
    upload: str | None


@dataclass(slots=True)
class Captions:
    """`check` raises RefusedError for a URL to which nothing is ever sent; `waiting` answers wait for a caption."""

    service: Service
    files: FileLibrary
    predictions: Predictions
    check: Callable[[str], None]
    patience: float = PATIENCE
    waiting: int = field(default=0)

    async def begin(self, sender: Sender, task: Task) -> Begun:
        """Check a task, keep it and see that it is run; the same task again is the one that is there. Raises TaskError,
        StoreError, BlobError.
        """
        asked = await _digest(task.fields)
        known = await self._known(sender, task, asked)
        fields = Fields(task.fields)
        called = fields.text("model") or DEFAULT_MODEL
        model = self._model(fields.text("model"))
        prompt = _prompt(fields)
        wish = self._wish(fields)
        place, sent = images.find(fields)
        generation = Generation(task.uuid, _chat(prompt), _PARAMS, dialect=DIALECT)
        if sender.dry:
            item = {"taskType": task.type, "taskUUID": task.uuid, "text": "[dry run]"}
            return Begun(item | cost(wish.cost, self.service.accounts.estimate(generation, model, called, images=1)))
        if known is None:
            self._admit(model, wish)
            await self.service.admit(sender.owner, model, generation, called, images=1)
            image = await images.keep(self.service, self.files, sender, place, sent)
            shown = Shown(task.uuid, task.type, asked, place, sender.base, wish.cost, wish.upload)
            stored = StoredGeneration(generation.prompt, _PARAMS, (image.source,), called)
            new = _new(sender, task, model, stored, shown, wish)
            known = await self.predictions.create(new)
            if known.id != new.id:  # the same task came twice at once
                _check_same(known, asked)
        return self._begun(sender, task, known, wish)

    async def _known(self, sender: Sender, task: Task, asked: str) -> PredictionRecord | None:
        """The prediction that this task was before, unless it came to nothing: then it is run again. Raises TaskError
        if it was another task.
        """
        record = await self.predictions.by_key(sender.owner, key_of(task.uuid))
        if record is None or record.removed_us is not None or record.status in ("failed", "canceled"):
            return None
        _check_same(record, asked)
        return record

    def _model(self, name: str | None) -> Backend:
        """The model that answers to `name`; without one what Runware's own does, or the only one. Raises TaskError."""
        router = self.service.router
        try:
            try:
                model = router.find(name or DEFAULT_MODEL)
            except UnknownModelError:
                if name:
                    raise
                model = router.find(None)
        except UnknownModelError as error:
            raise TaskError("invalidModel", str(error), "model", "string") from None
        if model.info is not None and not model.info.vision:
            seeing = [each.name for each in router.models if each.info is None or each.info.vision]
            hint = f" Models that may take images: {', '.join(seeing)}." if seeing else ""
            raise TaskError("invalidModel", f"The model {model.name} reads text only.{hint}", "model", "string")
        return model

    def _wish(self, fields: Fields) -> Wish:
        """What is said beside the question. What is about files of images is checked, and then without effect: a text
        stands in the answer itself.
        """
        method = fields.word("deliveryMethod", ("sync", "async"), "sync")
        fields.word("outputType", ("URL", "base64Data", "dataURI"), "URL")
        fields.word("outputFormat", ("JPG", "PNG", "WEBP"), "JPG")
        fields.whole("outputQuality", 20, 99, 95)
        fields.whole("ttl", 60)
        if fields.get("template") is not None:
            raise TaskError("unsupportedParameter", "template is not supported; use prompt.", "template", "string")
        if (fields.whole("numberResults", 1) or 1) > 1:
            raise TaskError("unsupportedParameter", "A caption has one result.", "numberResults", "integer")
        webhook, upload = self._address(fields, "webhookURL"), self._address(fields, "uploadEndpoint")
        return Wish(
            acknowledge=method == "async" or webhook is not None,
            wait=fields.get("deliveryMethod") is not None and method == "sync",
            cost=fields.flag("includeCost"), webhook=webhook, upload=upload,
        )  # fmt: skip

    def _address(self, fields: Fields, name: str) -> str | None:
        url = fields.text(name)
        if url is None:
            return None
        try:
            self.check(url)
        except RefusedError as error:
            raise invalid(name, "string", f"{name}: {error}.") from None
        return url

    def _admit(self, model: Backend, wish: Wish) -> None:
        """Whoever waits has little patience: better a quick no than an answer that nobody waits for any more."""
        most = self.service.most_waiting
        if not wish.acknowledge and self.waiting >= most:
            self.service.metrics.rejected(model.name, "queue_full")
            way_out = "try again later, or with deliveryMethod async"
            raise QueueFullError(f"{self.waiting} captions are waited for; {way_out}")

    # ---- what its caller hears ---------------------------------------------------------------------------------------

    def _begun(self, sender: Sender, task: Task, record: PredictionRecord, wish: Wish) -> Begun:
        later = partial(self._result, record.id, task)
        if not wish.acknowledge:
            return Begun(later=later, model=record.model)
        item = acknowledged(record) | {"taskUUID": task.uuid}
        wanted = later if wish.wait and sender.pushing is not None else None
        return Begun(item, wanted, record.model)

    async def _result(self, prediction_id: str, task: Task) -> Item:
        """The caption, as soon as there is one. Raises TaskError."""
        self.waiting += 1
        try:
            record = await self.predictions.wait(prediction_id, self.patience)
        finally:
            self.waiting -= 1
        if record is None:
            raise TaskError("taskCancelled", "The task was deleted.")
        if not record.ended:
            message = f"The caption was not there within {self.patience:g} s; ask for it with getResponse."
            raise TaskError("inferenceTimeout", message, retry_after=5)
        return result(record) | {"taskType": task.type, "taskUUID": task.uuid}


def _chat(prompt: str) -> ChatPrompt:
    return ChatPrompt([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}])


def _new(
    sender: Sender, task: Task, model: Backend, generation: StoredGeneration, shown: Shown, wish: Wish
) -> NewPrediction:
    return NewPrediction(
        owner=sender.owner, dialect=DIALECT, model=model.name, generation=generation, shown=asdict(shown),
        input={name: _elided(name, task.fields[name]) for name in _KEPT if task.fields.get(name) is not None},
        logs=f"{model.name} answers\n", webhook=wish.webhook, webhook_events=("completed",),
        idempotency_key=key_of(task.uuid), replaces=True,
    )  # fmt: skip


def _prompt(fields: Fields) -> str:
    """What is asked. Some clients have no other place for it than beside the image, others send a list of lines."""
    place = "prompt" if fields.get("prompt") is not None else "inputs.prompt"
    value = fields.get(place)
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if value is not None and not isinstance(value, str):
        raise invalid(place, "string", f"{place} must be a string, not {shown(value)}.")
    return value if value and value.strip() else DEFAULT_PROMPT


def _check_same(record: PredictionRecord, asked: str) -> None:
    if Shown.of(record).asked != asked:
        message = "This taskUUID was used for another task; every task needs one of its own."
        raise TaskError("conflictTaskUUID", message, "taskUUID", "string")


async def _digest(task: Mapping[str, Any]) -> str:
    """A hash of what is asked: the same in any order, with nulls or without, and however it is to be delivered."""
    asked = {name: value for name, value in task.items() if value is not None and name != "deliveryMethod"}
    asked["taskUUID"] = str(asked.get("taskUUID")).lower()
    image = max((len(text) for text in _texts(asked)), default=0)
    return await asyncio.to_thread(_hashed, asked) if image > _LARGE else _hashed(asked)


def _hashed(value: Any) -> str:
    return hashlib.sha256(_ENCODER.encode(value)).hexdigest()


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]


def _elided(name: str, value: Any) -> Any:
    """A field as it is kept: images that were written out, and what is very long, only begin."""
    if isinstance(value, str):
        return images.shortened(value) if name in _IMAGES else value[:_MOST_KEPT]
    if isinstance(value, dict):
        return {inner[:_MOST_NAME]: _elided(inner, part) for inner, part in islice(value.items(), _MOST_PARTS)}
    if isinstance(value, list):
        return [_elided(name, part) for part in value[:_MOST_PARTS]]
    return value
