"""The task `caption`, which older clients call `imageCaption`: a durable prediction about one image."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from msgspec.structs import asdict

from ....engine.errors import QueueFullError
from ....engine.request import SamplingParams
from ...backend import Backend
from ...files.library import FileLibrary
from ...generation import ChatPrompt, Generation, UnknownModelError
from ...predictions.predictions import Ending, NewPrediction, Predictions
from ...predictions.stored import StoredGeneration
from ...service import Service
from ...store.predictions import PredictionRecord
from . import asked, images
from .begun import Begun, Item, Sender, Task
from .errors import TaskError
from .fields import Fields
from .images import Kept
from .shown import DIALECT, MOST_TOKENS, Shown, acknowledged, cost, key_of, result
from .wish import Wish, read_prompt, read_wish

TYPES = ("caption", "imageCaption")
DEFAULT_MODEL = "runware:150@2"
_PARAMS = SamplingParams(max_tokens=MOST_TOKENS)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that an answer waits for its caption, which goes on and can be polled. Over HTTP nobody can count on more
    than a minute. On a WebSocket one client sends its task again after a minute, and hears of the first one then; all
    have given up after two.
    """

    http: float = 55.0
    socket: float = 115.0


@dataclass(frozen=True, slots=True)
class _Draft:
    """What a caption will be once its image is kept, which is `sent` at `place`."""

    task: Task
    digest: str
    generation: Generation
    called: str
    model: Backend
    wish: Wish
    place: str
    sent: str


@dataclass(slots=True)
class Captions:
    """`check` raises RefusedError for a URL to which nothing is ever sent; `waiting` captions are waited for, and
    `late` are those that were waited for in vain, by their models.
    """

    service: Service
    files: FileLibrary
    predictions: Predictions
    check: Callable[[str], None]
    patience: Patience = Patience()
    waiting: int = 0
    late: dict[str, str] = field(default_factory=dict)

    async def begin(self, sender: Sender, tasks: Sequence[Task]) -> list[Begun | Exception]:
        """Check tasks, keep them and see that they are run, all in one transaction; the same task again is the one that
        is there. What is wrong with one is its own error: TaskError, StoreError, BlobError and those of `Service`.
        """
        digests = [await asked.digest(task.fields) for task in tasks]
        there = await self.predictions.by_keys(sender.owner, [key_of(task.uuid) for task in tasks])
        found = [
            await _tried(self._draft(sender, task, digest, there.get(key_of(task.uuid))))
            for task, digest in zip(tasks, digests, strict=True)
        ]
        made = iter(await self._make(sender, [each for each in found if isinstance(each, _Draft)]))
        return [next(made) if isinstance(each, _Draft) else each for each in found]

    async def _draft(self, sender: Sender, task: Task, digest: str, there: PredictionRecord | None) -> _Draft | Begun:
        """What a task will be, or what came of the same one before, unless that came to nothing: then it is run again.
        Raises TaskError and what `Service.admit` does.
        """
        if there is not None and (there.removed_us is not None or there.status in ("failed", "canceled")):
            there = None
        if there is not None:
            _check_same(there, digest)
        fields = Fields(task.fields)
        called = fields.text("model") or DEFAULT_MODEL
        model = self._model(fields.text("model"))
        generation = Generation(task.uuid, _chat(read_prompt(fields)), _PARAMS, dialect=DIALECT)
        wish = read_wish(fields, self.check)
        place, sent = images.find(fields)
        if sender.dry:
            item = {"taskType": task.type, "taskUUID": task.uuid, "text": "[dry run]"}
            return Begun(item | cost(wish.cost, self.service.accounts.estimate(generation, model, called, images=1)))
        if there is not None:
            return self._begun(sender, task, there, wish)
        await self._admit(model, wish)
        await self.service.admit(sender.owner, model, generation, called, images=1)
        return _Draft(task, digest, generation, called, model, wish, place, sent)

    async def _make(self, sender: Sender, drafts: Sequence[_Draft]) -> list[Begun | Exception]:
        """Captions of drafts, or what is wrong with each."""
        kept = await self._keep(sender, drafts)
        news = [
            _new(sender, draft, image) for draft, image in zip(drafts, kept, strict=True) if isinstance(image, Kept)
        ]
        created = await _tried(self.predictions.create_all(news)) if news else []
        if isinstance(created, Exception):
            return [created if isinstance(image, Kept) else image for image in kept]
        records = iter(created)
        return [
            self._made(sender, draft, next(records)) if isinstance(image, Kept) else image
            for draft, image in zip(drafts, kept, strict=True)
        ]

    async def _keep(self, sender: Sender, drafts: Sequence[_Draft]) -> list[Kept | Exception]:
        """The images of drafts; one that several show is kept once. Those that are written out are kept side by side;
        others are only looked up, for which a task each would be too much.
        """
        several = {(draft.place, draft.sent): draft for draft in drafts}

        async def keep(draft: _Draft) -> Kept | Exception:
            return await _tried(images.keep(self.service, self.files, sender, draft.place, draft.sent))

        if any(images.written_out(draft.sent) for draft in several.values()):
            kept = await asyncio.gather(*map(keep, several.values()))
        else:
            kept = [await keep(draft) for draft in several.values()]
        found = dict(zip(several, kept, strict=True))
        return [found[draft.place, draft.sent] for draft in drafts]

    def _made(self, sender: Sender, draft: _Draft, record: PredictionRecord) -> Begun | Exception:
        try:
            _check_same(record, draft.digest)  # another task may have had the UUID first
        except TaskError as error:
            return error
        return self._begun(sender, draft.task, record, draft.wish)

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

    # ---- what its caller hears ---------------------------------------------------------------------------------------

    @contextmanager
    def waited_for(self, count: int) -> Iterator[None]:
        """So many captions are waited for meanwhile."""
        self.waiting += count
        try:
            yield
        finally:
            self.waiting -= count

    async def _admit(self, model: Backend, wish: Wish) -> None:
        """Whoever waits has little patience: better a quick no than an answer that nobody waits for any more. While a
        caption is under way that was waited for in vain, whoever comes behind it would wait in vain as well. Raises
        QueueFullError, StoreError.
        """
        if wish.acknowledge:
            return
        if self.waiting >= self.service.most_waiting:
            why = f"{self.waiting} captions are waited for"
        elif await self._is_late(model.name):
            why = f"captions of the model {model.name} take longer than anybody waits"
        else:
            return
        self.service.metrics.rejected(model.name, "queue_full")
        raise QueueFullError(f"{why}; try again later, or with deliveryMethod async")

    async def _is_late(self, model: str) -> bool:
        if model not in self.late:
            return False
        record = await self.predictions.get(self.late[model], None)
        if record is not None and not record.ended:
            return True
        self.late.pop(model, None)
        return False

    def _begun(self, sender: Sender, task: Task, record: PredictionRecord, wish: Wish) -> Begun:
        on_socket = sender.pushing is not None
        seconds = self.patience.socket if on_socket else self.patience.http
        later = partial(self._result, self.predictions.ending(record, seconds), task)
        if not wish.acknowledge:
            return Begun(later=later, model=record.model, waits=True)
        item = acknowledged(record) | {"taskUUID": task.uuid}
        return Begun(item, later if wish.wait and on_socket else None, record.model, waits=True)

    async def _result(self, ending: Ending, task: Task) -> Item:
        """The caption, as soon as there is one. Raises TaskError."""
        record = await ending.come()
        if record is None:
            raise TaskError("taskCancelled", "The task was deleted.")
        if not record.ended:
            self.late[record.model] = record.id
            way_on = "it goes on: ask for it with getResponse, or send the task again"
            message = f"The caption was not there within {ending.seconds:g} s; {way_on}."
            raise TaskError("inferenceTimeout", message, retry_after=5)
        return result(record) | {"taskType": task.type, "taskUUID": task.uuid}


async def _tried(work: Awaitable[T]) -> T | Exception:
    """What `work` gives, or what is wrong."""
    try:
        return await work
    except Exception as error:
        return error


def _chat(prompt: str) -> ChatPrompt:
    return ChatPrompt([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}])


def _new(sender: Sender, draft: _Draft, image: Kept) -> NewPrediction:
    task, wish = draft.task, draft.wish
    shown = Shown(task.uuid, task.type, draft.digest, draft.place, sender.base, wish.cost, wish.upload)
    # Clients take a caption without text for one that is still to come.
    stored = StoredGeneration(draft.generation.prompt, _PARAMS, (image.source,), draft.called, needed=True)
    return NewPrediction(
        owner=sender.owner, dialect=DIALECT, model=draft.model.name, generation=stored, shown=asdict(shown),
        input=asked.kept(task.fields), logs=f"{draft.model.name} answers\n", webhook=wish.webhook,
        webhook_events=("completed",), idempotency_key=key_of(task.uuid), replaces=True,
    )  # fmt: skip


def _check_same(record: PredictionRecord, digest: str) -> None:
    if Shown.of(record).asked != digest:
        message = "This taskUUID was used for another task; every task needs one of its own."
        raise TaskError("conflictTaskUUID", message, "taskUUID", "string")
