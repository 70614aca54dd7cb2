"""Served models before null replicas that differ from start to start, and what they answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from servers import start_null

from triptych.engine.request import SamplingParams
from triptych.replica.process import ReplicaProcess
from triptych.server.generation import ChatPrompt, Generation
from triptych.server.served import ModelSpec, ServedModel, Waits

WAITS = Waits(first=0.05)


class Starts:
    """Starts null replicas: the first one with the first options, and so on; the last options stay."""

    def __init__(self, *options: dict[str, Any]) -> None:
        self.options = list(options) or [{}]
        self.processes: list[ReplicaProcess] = []

    def __call__(self, spec: ModelSpec, on_phase: Any) -> ReplicaProcess:
        number = min(len(self.processes), len(self.options) - 1)
        told = ModelSpec(spec.name, spec.model, spec.aliases, self.options[number])
        self.processes.append(start_null(told, on_phase))
        return self.processes[-1]


def served(
    *options: dict[str, Any], name: str = "one", waits: Waits = WAITS, on_phase: Callable[..., None] = lambda *_: None
) -> tuple[ServedModel, Starts]:
    """A model whose replicas have these options, and its starts."""
    starts = Starts(*options)
    return ServedModel(ModelSpec(name, "null"), starts, on_phase, waits), starts


def asked(text: str = "a b c", **params: Any) -> Generation:
    messages = [{"role": "user", "content": text}]
    return Generation("test", ChatPrompt(messages), SamplingParams(**{"max_tokens": None, **params}))


async def answer(model: ServedModel, text: str = "a b c") -> str:
    return "".join([piece.text async for pieces in model.begin(asked(text)) for piece in pieces])


async def begun(model: ServedModel) -> asyncio.Task[None]:
    """A long request that has got its first word."""
    pieces = aiter(model.begin(asked("word " * 1000)))
    await anext(pieces)

    async def rest() -> None:
        async for _ in pieces:
            pass

    return asyncio.create_task(rest())


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


def gone(process: ReplicaProcess) -> bool:
    return not process.alive and not process._folder.exists()
