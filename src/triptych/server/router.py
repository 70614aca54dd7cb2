"""Which model answers to a name, and which models run: by demand, within a limit of memory."""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from .backend import Backend
from .generation import ModelUnavailableError, UnknownModelError
from .names import ALIASES, NOTE
from .served import ModelSpec, ServedModel

log = logging.getLogger("triptych.server")

_LOOK_EVERY = 0.02
# A name that nobody has is repeated in the error up to here.
_MOST_SHOWN = 100


def embedded_specs() -> list[ModelSpec]:
    """The packaged models under their own names and those that people have in their code."""
    return [ModelSpec(name, name, aliases, note=NOTE) for name, aliases in ALIASES.items()]


class Router:
    """All models that are served. `idle_unload` is seconds without a request after which a model stops (None: never);
    `memory_limit` is bytes of weights of all running models together (None: no limit), and `room_within` how long a
    model that does not fit waits for others to fall idle. What runs is looked through every `sweep_every` seconds.
    """

    def __init__(
        self,
        models: Sequence[Backend],
        idle_unload: float | None = None,
        memory_limit: int | None = None,
        room_within: float = 30.0,
        sweep_every: float = 1.0,
    ) -> None:
        self.models = list(models)
        self._idle_unload = idle_unload
        self._memory_limit = memory_limit
        self._room_within = room_within
        self._sweep_every = sweep_every
        self._by_name: dict[str, Backend] = {}
        for model in self.models:
            if isinstance(model, ServedModel):
                model.before_start = self.make_room
            for name in (model.name, *model.aliases):
                # A model's own name beats an alias of another; of two aliases the first one counts.
                if name == model.name or name not in self._by_name:
                    self._by_name[name] = model
        # Names in lower case as they are spelled; the first one counts.
        self._spelled = {name.lower(): name for name in reversed(self._by_name)}
        self._making_room = asyncio.Lock()
        self._sweeper: asyncio.Task[None] | None = None

    def find(self, name: str | None) -> Backend:
        """The model that answers to `name`, if need be in other case; without a name the only one there is, or the only
        one that runs. Raises UnknownModelError.
        """
        if not name:
            running = [model for model in self.models if model.state == "ready"]
            for only in (self.models, running):
                if len(only) == 1:
                    return only[0]
        else:
            found = self._by_name.get(name) or self._by_name.get(self._spelled.get(name.lower(), ""))
            if found is not None:
                return found
        raise self._unknown(name or "")

    def _unknown(self, name: str) -> UnknownModelError:
        shown = name if len(name) <= _MOST_SHOWN else name[:_MOST_SHOWN] + "..."
        near = difflib.get_close_matches(shown.lower(), self._spelled, 1)
        hint = f" Did you mean {self._spelled[near[0]]!r}?" if near else ""
        asked = f"The model {shown!r} does not exist." if name else "Name a model."
        return UnknownModelError(f"{asked}{hint} Served: {', '.join(model.name for model in self.models)}.")

    @property
    def under_way(self) -> int:
        """Requests that have not ended, over all models."""
        return sum(model.under_way for model in self.models)

    async def start(self, preload: Iterable[Backend] = ()) -> None:
        """Begin to sweep, and start `preload` one after the other. Raises what keeps one of those from loading."""
        self._sweeper = asyncio.create_task(self._sweep())
        for model in self.models:
            await model.open()
        for model in preload:
            await model.ready()

    async def stop(self, grace: float) -> None:
        """Stop all models; running requests get `grace` seconds."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        await asyncio.gather(*(model.close(grace) for model in self.models))

    async def make_room(self, model: Backend) -> None:
        """Before `model` loads: stop models that nobody uses, the longest unused first, until its weights fit beside
        the others; wait for those that are used. Raises ModelUnavailableError when there is no room in time.
        """
        if self._memory_limit is None:
            return
        deadline = time.monotonic() + self._room_within
        async with self._making_room:
            while (others := self._in_memory(model)) and self._over_limit([*others, model]):
                idle = self._idle(others)
                if idle:
                    log.info("%s makes room for %s", idle[0].name, model.name)
                    await idle[0].stop()
                elif time.monotonic() > deadline:
                    busy = ", ".join(other.name for other in others)
                    raise ModelUnavailableError(f"there is no room for {model.name} beside {busy}, in use")
                else:
                    await asyncio.sleep(_LOOK_EVERY)

    def _in_memory(self, besides: Backend | None = None) -> list[Backend]:
        return [model for model in self.models if model is not besides and model.in_memory]

    def _over_limit(self, models: Iterable[Backend]) -> bool:
        return self._memory_limit is not None and sum(model.weight_bytes for model in models) > self._memory_limit

    def _idle(self, models: Iterable[Backend]) -> list[Backend]:
        """Those that nobody uses, the longest unused first."""
        idle = [model for model in models if model.state == "ready" and not model.under_way]
        return sorted(idle, key=lambda model: model.last_used)

    async def _sweep(self) -> None:
        """Stop what nobody used for too long, and what turned out larger than it was thought when it started."""
        while True:
            await asyncio.sleep(self._sweep_every)
            for model in self._idle(self._in_memory()):
                unused = time.monotonic() - model.last_used
                too_long = self._idle_unload is not None and unused > self._idle_unload
                if not model.under_way and (too_long or self._over_limit(self._in_memory())):
                    log.info("%s was not used for %.0f s and stops", model.name, unused)
                    await model.stop()
