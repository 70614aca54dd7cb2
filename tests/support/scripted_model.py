"""A served model without a process: it says the words of the prompt, or what it is told to do instead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from triptych.engine.request import Timing, Usage
from triptych.replica.protocol import Admitted, End, ModelInfo, Piece
from triptych.server.generation import Generation

INFO = ModelInfo("scripted", "null", "fp32", "cpu", 4096, True, 1, 4096, 1000)


class ScriptedRun:
    """Says `words`, one a turn; raises one that is an error."""

    def __init__(self, model: ScriptedModel, generation: Generation, words: list[Any]) -> None:
        self.end: End | None = None
        self._model, self._words = model, words
        self._aborted = False
        self._prompt = len(generation.prompt.messages[-1]["content"].split())  # type: ignore[union-attr]

    async def admission(self) -> Admitted:
        await self._model.pass_gate("admission")
        if self._words and isinstance(self._words[0], Exception):
            raise self._words[0]
        return Admitted("1", self._prompt, 0)

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        said = 0
        for number, word in enumerate(self._words, 1):
            await self._model.pass_gate(f"word {said}")
            await asyncio.sleep(self._model.pace)
            if isinstance(word, Exception):
                raise word
            if self._aborted:
                break
            said += 1
            self._model.said += 1
            yield [Piece(0, word, [said], finish_reason="stop" if number == len(self._words) else None)]
        self.end = End("1", Usage(self._prompt, 0, 0, said), self._model.timing)

    async def final(self) -> End | None:
        return self.end

    def abort(self) -> None:
        self._aborted = True


class ScriptedModel:
    """`reply` makes the words from the prompt's and the number of the try; `gates` hold it up at a place until set."""

    aliases: tuple[str, ...] = ()
    note = failure = ""
    upstream = pid = report = None
    in_memory, weight_bytes, under_way = True, 1, 0
    state = "ready"

    def __init__(
        self, name: str = "m", reply: Callable[[list[str], int], list[Any]] = lambda words, time: words
    ) -> None:
        self.name = self.model = name
        self.info: ModelInfo | None = INFO
        self.phases: dict[str, Any] = {}
        self.last_used = time.monotonic()
        self.pace = 0.0
        self.gates: dict[str, asyncio.Event] = {}
        self.tries: dict[str, int] = {}
        self.said = 0
        self.timing = Timing()
        self._reply = reply

    async def pass_gate(self, place: str) -> None:
        if place in self.gates:
            await self.gates[place].wait()

    def begin(self, generation: Generation) -> ScriptedRun:
        text = generation.prompt.messages[-1]["content"]  # type: ignore[union-attr]
        self.tries[text] = self.tries.get(text, 0) + 1
        words = [f" {word}" for word in text.split()]
        return ScriptedRun(self, generation, self._reply(words, self.tries[text]))

    async def ready(self) -> ModelInfo:
        return INFO
