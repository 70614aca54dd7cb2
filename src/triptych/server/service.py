"""What the dialects share: the models, and the way a request's images come in."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ..engine.errors import QueueFullError, TriptychError
from .accounts.accounts import Accounts
from .accounts.errors import BudgetError, RateLimitError
from .backend import Backend
from .exchange import Exchange
from .files.library import FileLibrary
from .generation import Generation, ModelInfo, Picture
from .metered import MeteredRun, metered
from .metrics import Metrics
from .pictures import Fetch, read_pictures
from .router import Router

log = logging.getLogger("triptych.server")

# What stands before the id of a stored file where an image's URL may be.
FILE = "file-id:"
# Larger than any priority that callers give.
_BEHIND_ALL = 1 << 40


class TooManyImagesError(TriptychError):
    """A request shows more images than are accepted."""


class UnknownFileError(TriptychError):
    """The caller has no file with the id of an image."""

    code = "file_not_found"


class NoVisionError(TriptychError):
    """Images were given to a model that reads text only."""


class PictureError(TriptychError):
    """One of a request's images could not be had; `number` is its place and `reason` what is wrong with it."""

    def __init__(self, number: int, reason: Exception) -> None:
        super().__init__(str(reason))
        self.number = number
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Service:
    """`fetch` reads an image's URL, data URI or base64; `most_images` are accepted in one request. While `most_waiting`
    generations of a model are under way, no new request is let in.
    """

    router: Router
    fetch: Fetch
    metrics: Metrics
    most_images: int = 64
    most_waiting: int = 256
    files: FileLibrary | None = None
    accounts: Accounts = field(default_factory=Accounts.open)
    under_way: Counter[str] = field(default_factory=Counter)
    said: set[str] = field(default_factory=set)

    def say_once(self, message: str) -> None:
        """A line in the log, for the first time that there is reason for it."""
        if message not in self.said:
            self.said.add(message)
            log.info("%s", message)

    async def ready(self, model: Backend) -> ModelInfo:
        """What runs under `model`, which is started if need be. Raises what keeps it from answering."""
        return await model.ready()

    async def pictures(
        self, model: Backend, urls: Sequence[str], owner: str = "", details: Sequence[str] = ()
    ) -> tuple[Picture, ...]:
        """The images of a request of `owner` for `model`; `details` has a word for each of them, or none for any.

        Raises NoVisionError, TooManyImagesError, PictureError.
        """
        if not urls:
            return ()
        if len(urls) > self.most_images:
            raise TooManyImagesError(f"{len(urls)} images in one request, the most is {self.most_images}")
        if not (await self.ready(model)).vision:
            seeing = [other.name for other in self.router.models if other.info is None or other.info.vision]
            hint = f"; models that may take images: {', '.join(seeing)}" if seeing else ""
            raise NoVisionError(f"the model {model.name} reads text only, it takes no images{hint}")
        found: list[Picture] = []
        for number, picture in enumerate(await read_pictures(urls, partial(self._image, owner))):
            if isinstance(picture, TriptychError):
                raise PictureError(number, picture)
            if isinstance(picture, Exception):
                raise picture
            found.append(replace(picture, detail=details[number]) if details else picture)
        return tuple(found)

    async def _image(self, owner: str, url: str) -> bytes:
        """The bytes behind a URL, a data URI, base64, or `FILE` and the id of one of the owner's files."""
        if not url.startswith(FILE):
            return await self.fetch(url)
        record = None if self.files is None else await self.files.get(owner, url.removeprefix(FILE))
        if self.files is None or record is None:
            raise UnknownFileError("there is no file with this id")
        return await self.files.read(record)

    async def begin(
        self, model: Backend, generation: Generation, exchange: Exchange, called: str = ""
    ) -> MeteredRun:
        """Put a generation to a model; it is counted and charged, and what it used stands in the exchange's line of the
        log. `called` is the name that was asked for.

        Raises QueueFullError and RateLimitError, for the first generation of an exchange only: what has begun goes on;
        ForbiddenError, BudgetError, StoreError.
        """
        name, first = model.name, not exchange.begun
        if first and self.under_way[name] >= self.most_waiting:
            self.metrics.rejected(name, "queue_full")
            raise QueueFullError(f"{self.under_way[name]} requests of the model {name} are under way; try again later")
        try:
            self.accounts.check(exchange.owner, generation.dialect, model, first and exchange.row is None)
            row = exchange.row if first or exchange.row is None else f"{exchange.row}.{exchange.begun}"
            charge = await self.accounts.charge(exchange.owner, generation, model, called, row)
        except (BudgetError, RateLimitError) as error:
            self._rejected(name, error)
            raise
        exchange.limits = self.accounts.limits(exchange.owner)
        exchange.begun += 1
        if exchange.background:
            generation = replace(generation, priority=min(generation.priority, _BEHIND_ALL) + _BEHIND_ALL)
        self.under_way[name] += 1
        release = partial(self.under_way.subtract, (name,))
        run = model.begin(generation)
        return metered(run, generation, self.metrics, exchange.told, release, charge, self.accounts.later)

    async def admit(
        self, owner: str, model: Backend, generation: Generation, called: str, images: int
    ) -> dict[str, str]:
        """See that `owner` may ask for a generation that begins later, with `images`, and has enough left for it; the
        answer's headers of limits. Raises ForbiddenError, RateLimitError, BudgetError, StoreError.
        """
        try:
            self.accounts.check(owner, generation.dialect, model)
            await self.accounts.afford(owner, generation, model, called, images)
        except (BudgetError, RateLimitError) as error:
            self._rejected(model.name, error)
            raise
        return self.accounts.limits(owner)

    def _rejected(self, model: str, error: Exception) -> None:
        """Count a request that its key has not enough left for."""
        self.metrics.rejected(model, "budget" if isinstance(error, BudgetError) else "rate_limit")
