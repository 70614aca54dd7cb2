"""Tasks as they come in, and what goes out. Every task is read by itself, so that one that is wrong spoils no other."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()
# Text of this size, in characters, is decoded on a thread: it would hold up the event loop.
_LARGE = 1 << 18
MOST_TASKS = 100
# Bytes, or characters, of what somebody may say who has not said who it is.
MOST_BEFORE_KEY = 1 << 20


def to_json(value: Any) -> bytes:
    return _encoder.encode(value)


class UnreadableError(Exception):
    """What came is no array of tasks; `code` is Runware's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Named(msgspec.Struct, rename="camel"):
    """As much of a task as its answer needs."""

    task_type: Any = None
    task_uuid: Any = msgspec.field(default=None, name="taskUUID")


async def read_tasks(data: bytes | str) -> list[Any]:
    """The tasks of a body or a message, whatever each of them is: one that stands alone counts as an array of one.

    Raises UnreadableError.
    """
    found = await _decoded(data, Any)
    tasks = found if isinstance(found, list) else [found]
    if isinstance(found, list) and not found:
        raise UnreadableError("arrayTooSmall", "The array has no task; send at least one.")
    if len(tasks) > MOST_TASKS:
        raise UnreadableError("arrayTooLarge", f"The array has {len(tasks)} tasks; the most is {MOST_TASKS}.")
    if not isinstance(found, list | dict):
        raise UnreadableError("invalidRequest", "The body must be an array of tasks, which are objects.")
    return tasks


async def read_names(data: bytes | str) -> list[Named]:
    """What the tasks of a message that is too large call themselves; nothing if it cannot be read."""
    try:
        found = await _decoded(data, list[Named] | Named)
    except UnreadableError:
        return []
    return found if isinstance(found, list) else [found]


async def _decoded(data: bytes | str, type: Any) -> Any:
    try:
        if len(data) > _LARGE:
            return await asyncio.to_thread(msgspec.json.decode, data, type=type)
        return msgspec.json.decode(data, type=type)
    except RecursionError:
        raise UnreadableError("invalidRequest", "The body is nested too deeply.") from None
    except UnicodeError:
        raise UnreadableError("invalidRequest", "The body is not valid JSON: it is not UTF-8.") from None
    except msgspec.MsgspecError as error:
        raise UnreadableError("invalidRequest", f"The body is not valid JSON: {error}.") from None
