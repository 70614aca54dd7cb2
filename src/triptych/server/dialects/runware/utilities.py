"""What clients ask about the server: which models there are, and what the account has used."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...backend import Backend, sees
from ...predictions.predictions import Predictions
from ...service import Service
from ...store.ids import now_us
from .begun import Begun, Caller, Item, Task
from .errors import TaskError, shown
from .fields import Fields
from .price import CAPTION
from .shown import DIALECT

_TAGS = ("caption", "image-to-text")
_DAY_US = 86_400_000_000
# Nothing is charged, so it never falls. Clients take any number.
_BALANCE = 1_000_000
_OURS = uuids.uuid5(uuids.NAMESPACE_URL, "https://github.com/triptych/triptych")


@dataclass(frozen=True, slots=True)
class Utilities:
    """The handlers."""

    service: Service
    predictions: Predictions

    async def search(self, caller: Caller, task: Task) -> Begun:
        """The served models that can caption. Raises TaskError."""
        fields = Fields(task.fields)
        words = (fields.text("search") or "").lower()
        limit, offset = fields.whole("limit", 1, 100, 20), fields.whole("offset", 0, default=0)
        assert limit is not None
        assert offset is not None
        found = [_described(model) for model in self.service.router.models
                 if sees(model) and _matches(model, words)]  # fmt: skip
        for name in ("category", "architecture", "type"):
            if wanted := fields.text(name):
                found = [each for each in found if each[name].lower() == wanted.lower()]
        item = {"taskType": task.type, "taskUUID": task.uuid, "totalResults": len(found)}
        return Begun(item | {"results": found[offset : offset + limit]})

    async def account(self, caller: Caller, task: Task) -> Begun:
        """What the key has used, at the listed price. Raises TaskError."""
        operation = task.fields.get("operation")
        if operation != "getDetails":
            message = f"operation must be getDetails, not {shown(operation)}."
            raise TaskError("unsupportedParameter", message, "operation", "string", allowedValues=["getDetails"])
        now = now_us()
        today = now - now % _DAY_US
        moments = (0, today, now - 7 * _DAY_US, now - 30 * _DAY_US)
        counts = await self.predictions.succeeded(caller.owner, DIALECT, moments)
        names = ("total", "today", "last7Days", "last30Days")
        item: Item = {"taskType": task.type, "taskUUID": task.uuid, "operation": operation}
        item |= {
            "organizationUUID": str(uuids.uuid5(_OURS, caller.owner)), "organizationName": "self-hosted",
            "balance": _BALANCE, "team": [], "apiKeys": [],
            "usage": {name: _used(count) for name, count in zip(names, counts, strict=True)},
        }  # fmt: skip
        return Begun(item)


def _used(count: int) -> Item:
    return {"credits": round(count * CAPTION.usd, 4), "requests": count}


def _air(model: Backend) -> str:
    """Runware's id of a model: its alias of that form, or its name."""
    return next((name for name in model.aliases if name.startswith("runware:")), model.name)


def _matches(model: Backend, words: str) -> bool:
    return any(words in text.lower() for text in (_air(model), model.name, model.model, *model.aliases, *_TAGS))


def _described(model: Backend) -> dict[str, Any]:
    """A model as one of the results. Its name is that of what really runs."""
    tags: Sequence[str] = [*_TAGS, *(name for name in model.aliases if not name.startswith("runware:"))]
    return {
        "air": _air(model), "name": model.name, "version": model.model, "category": "checkpoint", "type": "base",
        "architecture": "llava" if model.info is None else model.info.architecture, "tags": list(tags), "heroImage": "",
        "private": False, "comment": model.note, "capabilities": ["io:image-to-text", "op:caption"],
    }  # fmt: skip
