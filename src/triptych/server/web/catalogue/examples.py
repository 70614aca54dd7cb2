"""Requests and answers that a provider's page shows, as JSON in the form of its API."""

from __future__ import annotations

import json
from dataclasses import dataclass

from markupsafe import Markup

from ....catalogue.answers import ExampleAnswer, RouteAnswer
from ..curl import colored


@dataclass(frozen=True, slots=True)
class Shown:
    """`request` and `answer` are JSON; prompts and captions are told in our words, in brackets."""

    title: str
    label: str
    request: str
    answer: str
    words: int
    cost: str
    sources: tuple[str, ...]

    @property
    def request_colored(self) -> Markup:
        return colored(self.request)

    @property
    def answer_colored(self) -> Markup:
        return colored(self.answer)


def examples(route: RouteAnswer) -> list[Shown]:
    """Those of a route."""
    return [_shown(each, route.names[0] if route.names else route.model) for each in route.examples]


def _shown(example: ExampleAnswer, model: str) -> Shown:
    request = [{
        "taskType": "caption", "taskUUID": example.task, "model": model, "prompt": f"[{example.asks}]",
        "inputs": {"image": example.image},
    }]  # fmt: skip
    answer = {"data": [{
        "taskType": "imageCaption", "taskUUID": example.task, "text": f"[a caption of {example.words} words]",
        "cost": float(example.cost_usd),
    }]}  # fmt: skip
    return Shown(
        example.title, example.label, _json(request), _json(answer), example.words, example.cost_usd,
        tuple(example.sources),
    )  # fmt: skip


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
