"""Which model answers to a name, and which models run: by demand, within a limit of memory."""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from .generation import UnknownModelError
from .names import ALIASES, NOTE
from .served import ModelSpec, ServedModel

log = logging.getLogger("triptych.server")

_SWEEP_EVERY = 1.0


def embedded_specs() -> list[ModelSpec]:
    """The packaged models under their own names and those that people have in their code."""
    return [ModelSpec(name, name, aliases, note=NOTE) for name, aliases in ALIASES.items()]


class Router:
    """All models that are served. `idle_unload` is seconds without a request after which a model stops (None: never);
    `memory_limit` is bytes of weights of all running models together (None: no limit).
    """

    def __init__(
        self, models: Sequence[ServedModel], idle_unload: float | None = None, memory_limit: int | None = None
    ) -> None:
        self.models = list(models)
        self._idle_unload = idle_unload
        self._memory_limit = memory_limit
        self._by_name: dict[str, ServedModel] = {}
        for model in self.models:
            model.before_start = self.make_room
            for name in (model.name, *model.spec.aliases):
                # A model's own name beats an alias of another; of two aliases the first one counts.
                if name == model.name or name not in self._by_name:
                    self._by_name[name] = model
        self._sweeper: asyncio.Task[None] | None = None

    def find(self, name: str | None) -> ServedModel:
        """The model that answers to `name`; without a name the only one there is. Raises UnknownModelError."""
        if not name and len(self.models) == 1:
            return self.models[0]
        found = self._by_name.get(name or "") or self._by_name.get((name or "").lower())
        if found is None:
            near = difflib.get_close_matches(name or "", self._by_name, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            served = ", ".join(model.name for model in self.models)
            asked = f"The model {name!r} does not exist." if name else "Name a model."
            raise UnknownModelError(f"{asked}{hint} Served: {served}.")
        return found

    @property
    def under_way(self) -> int:
        """Requests that have not ended, over all models."""
        return sum(model.under_way for model in self.models)

    async def start(self, preload: Iterable[ServedModel] = ()) -> None:
        """Begin to sweep, and start `preload` one after the other. Raises what keeps one of those from loading."""
        self._sweeper = asyncio.create_task(self._sweep())
        for model in preload:
            await model.client()

    async def stop(self, grace: float) -> None:
        """Stop all models; running requests get `grace` seconds."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        await asyncio.gather(*(model.stop(grace) for model in self.models))

    async def make_room(self, model: ServedModel) -> None:
        """Before `model` loads: stop models that nobody uses, the longest unused first, until its weights fit."""
        if self._memory_limit is None:
            return
        idle = sorted((m for m in self.models if m.state == "ready" and not m.under_way), key=lambda m: m.last_used)
        while idle and self._used() > self._memory_limit:
            unused = idle.pop(0)
            log.info("%s makes room for %s", unused.name, model.name)
            await unused.stop()

    def _used(self) -> int:
        return sum(model.weight_bytes for model in self.models if model.state in ("ready", "starting"))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_EVERY)
            if self._idle_unload is None:
                continue
            for model in self.models:
                unused = time.monotonic() - model.last_used
                if model.state == "ready" and not model.under_way and unused > self._idle_unload:
                    log.info("%s was not used for %.0f s and stops", model.name, unused)
                    await model.stop()
