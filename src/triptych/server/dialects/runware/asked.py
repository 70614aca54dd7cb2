"""A task as it was sent: a hash by which it is known again, and what is kept of it to be shown."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from itertools import islice
from typing import Any

import msgspec

from . import images

_ENCODER = msgspec.json.Encoder(order="deterministic")
# Characters: what is longer is hashed on a thread.
_LARGE = 1 << 18
# Of a task as it is kept: the fields it may have, those that hold images, characters of texts and names, and parts.
_KEPT = (
    "taskType", "taskUUID", "model", "prompt", "inputs", "inputImage", "inputImages", "deliveryMethod", "includeCost",
    "webhookURL", "uploadEndpoint", "outputType", "outputFormat", "outputQuality", "ttl",
)  # fmt: skip
_IMAGES = ("image", "images", "video", "inputImage", "inputImages")
_MOST_KEPT, _MOST_NAME, _MOST_PARTS = 16_384, 100, 20


async def digest(task: Mapping[str, Any]) -> str:
    """A hash of what is asked: the same in any order, with nulls or without, and however it is to be delivered."""
    asked = {name: value for name, value in task.items() if value is not None and name != "deliveryMethod"}
    asked["taskUUID"] = str(asked.get("taskUUID")).lower()
    return await asyncio.to_thread(_hashed, asked) if _longest(asked) > _LARGE else _hashed(asked)


def _hashed(value: Any) -> str:
    return hashlib.sha256(_ENCODER.encode(value)).hexdigest()


def _longest(value: Any) -> int:
    """How long the longest text is, in characters."""
    if isinstance(value, str):
        return len(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(map(_longest, parts), default=0)


def kept(task: Mapping[str, Any]) -> dict[str, Any]:
    """The task as it is kept: images that were written out, and what is very long, only begin."""
    return {name: _elided(name, task[name]) for name in _KEPT if task.get(name) is not None}


def _elided(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return images.shortened(value) if name in _IMAGES else value[:_MOST_KEPT]
    if isinstance(value, dict):
        return {inner[:_MOST_NAME]: _elided(inner, part) for inner, part in islice(value.items(), _MOST_PARTS)}
    if isinstance(value, list):
        return [_elided(name, part) for part in value[:_MOST_PARTS]]
    return value
