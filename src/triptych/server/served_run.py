"""A generation at a model that is served, over the deaths of its replicas."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ..replica.client import Call, ReplicaLostError
from .generation import Admitted, End, Generation, ModelUnavailableError, Piece

if TYPE_CHECKING:
    from .served import ServedModel

# A request that delivered nothing is given to this many replicas.
_TRIES = 3


class ServedRun:
    """A generation at a served model: given to a new replica when the old one dies before it delivered anything."""

    def __init__(self, model: ServedModel, generation: Generation) -> None:
        self.end: End | None = None
        self._model = model
        self._generation = generation
        self._call: Call | None = None
        self._tries = 0
        self._aborted = False

    async def admission(self) -> Admitted:
        while True:
            try:
                if self._call is None:
                    self._call = await self._begin()
                return await self._call.admission()
            except ReplicaLostError as lost:
                self._lost(lost)

    async def _begin(self) -> Call:
        generation = self._generation
        if self._tries:
            await asyncio.sleep(0)  # the model hears of a loss in the same turn of the event loop as we do
        client = await self._model.client()
        self._tries += 1
        call = client.submit(generation.prompt, generation.params, generation.pictures, generation.priority)
        if self._aborted:
            call.abort()
        return call

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        while self.end is None:
            await self.admission()
            call = self._call
            assert call is not None
            try:
                async for pieces in call:
                    yield pieces
            except ReplicaLostError as lost:
                self._lost(lost)
            else:
                self.end = call.end
            finally:
                self._model.last_used = time.monotonic()

    def _lost(self, lost: ReplicaLostError) -> None:
        """Try again with a new replica, if nothing was delivered and it was not tried often enough."""
        self._call = None
        if lost.delivered:
            raise ModelUnavailableError(f"the model {self._model.name} died while it was answering") from lost
        if self._tries >= _TRIES:
            told = f"the model {self._model.name} died {self._tries} times before it answered"
            raise ModelUnavailableError(told) from lost

    async def final(self) -> End | None:
        return None if self._call is None else await self._call.over()

    def abort(self) -> None:
        self._aborted = True
        if self._call is not None:
            self._call.abort()
