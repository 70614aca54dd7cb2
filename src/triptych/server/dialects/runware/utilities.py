"""What clients ask about the server: which models there are, and what the account has used."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...accounts.cost import usd_float
from ...backend import Backend, sees
from ...predictions.predictions import Predictions
from ...service import Service
from ...store.ids import now_us
from .begun import Begun, Item, Sender, Task
from .errors import TaskError, shown
from .fields import Fields
from .shown import DIALECT

_TAGS = ("caption", "image-to-text")
_DAY_US = 86_400_000_000
# Of a key without a budget. Clients take any number.
_BALANCE = 1_000_000
_OURS = uuids.uuid5(uuids.NAMESPACE_URL, "https://github.com/triptych/triptych")


@dataclass(frozen=True, slots=True)
class Utilities:
    """The handlers."""

    service: Service
    predictions: Predictions

    async def search(self, sender: Sender, task: Task) -> Begun:
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

    async def account(self, sender: Sender, task: Task) -> Begun:
        """What the key has used, and what it was charged for that. Raises TaskError."""
        operation = task.fields.get("operation")
        if operation != "getDetails":
            message = f"operation must be getDetails, not {shown(operation)}."
            raise TaskError("unsupportedParameter", message, "operation", "string", allowedValues=["getDetails"])
        now = now_us()
        today = now - now % _DAY_US
        moments = (0, today, now - 7 * _DAY_US, now - 30 * _DAY_US)
        used = await self.predictions.succeeded(sender.owner, DIALECT, moments)
        names = ("total", "today", "last7Days", "last30Days")
        item: Item = {"taskType": task.type, "taskUUID": task.uuid, "operation": operation}
        item |= {
            "organizationUUID": str(uuids.uuid5(_OURS, sender.owner)), "organizationName": "self-hosted",
            "balance": await self._balance(sender.owner), "team": [], "apiKeys": [],
            "usage": {
                name: {"credits": usd_float(nano), "requests": count}
                for name, (count, nano) in zip(names, used, strict=True)
            },
        }  # fmt: skip
        return Begun(item)

    async def _balance(self, owner: str) -> float:
        """What is left of the key's budget, in dollars."""
        accounts = self.service.accounts
        if accounts.budgets is None:
            return _BALANCE
        left = await accounts.budgets.left(accounts.keyring.caller(owner))
        return _BALANCE if left is None else usd_float(left)


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
