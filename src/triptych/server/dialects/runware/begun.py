"""Who sends tasks, and what comes of one: at once, and later."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...origin import origin
from .errors import TaskError, from_error

log = logging.getLogger("triptych.server")

Item = dict[str, Any]
# What stands in logs and answers of a type or a UUID that is not one.
_MOST_ECHOED = 256


@dataclass(frozen=True, slots=True)
class Sender:
    """`owner` is what the key is remembered by and `base` where this server is for the sender; tasks of one who is
    `dry` are checked and not run. `pushing` are the tasks of which a WebSocket will hear without asking; None over
    HTTP, where nothing can be said later.
    """

    owner: str
    base: str
    dry: bool = False
    pushing: set[str] | None = None

    @classmethod
    def of(
        cls, owner: str, scope: Mapping[str, Any], headers: Mapping[str, str], query: Mapping[str, str],
        pushing: set[str] | None = None,
    ) -> Sender:  # fmt: skip
        """Who sent a request."""
        dry = headers.get("x-runware-dry-run") == "1" or query.get("dryRun") == "1"
        return cls(owner, origin(scope, headers), dry, pushing)


@dataclass(frozen=True, slots=True)
class Task:
    """A task whose form is right as far as all tasks' is; `uuid` is as its caller wrote it."""

    type: str
    uuid: str
    fields: dict[str, Any]

    @property
    def key(self) -> str:
        """The same for every spelling of the UUID."""
        return self.uuid.lower()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is told of a task: an `item` or an `error`, with the status that an answer over HTTP would have."""

    status: int
    item: Item | None = None
    error: Item | None = None
    retry_after: dict[str, str] = field(default_factory=dict)
    model: str = ""

    @property
    def code(self) -> str | None:
        return None if self.error is None else self.error["code"]


# An item that is still to come; None if there is nothing to tell after all. May raise TaskError.
Later = Callable[[], Awaitable[Item | None]]


@dataclass(frozen=True, slots=True)
class Begun:
    """A task that is under way: an item to tell `now`, and what comes `later`. At least one of them. `model` is the
    served name of what works on it. If it is worked on anyway, `later` only `waits` for that.
    """

    now: Item | None = None
    later: Later | None = None
    model: str = ""
    waits: bool = False


def succeeded(item: Item, model: str = "") -> Outcome:
    return Outcome(200, item, model=model)


def failed(error: Exception, base: str, task_type: Any = None, task_uuid: Any = None, model: str = "") -> Outcome:
    """The outcome of a task that raised an error. Type and UUID are repeated as they were given, if they are texts."""
    if not isinstance(error, TaskError):
        told = from_error(error)
        if told.code == "internalServerError":
            log.exception("a task failed", exc_info=error)
        error = told
    named = [value[:_MOST_ECHOED] if isinstance(value, str) else None for value in (task_type, task_uuid)]
    retry = {} if error.retry_after is None else {"retry-after": str(max(1, round(error.retry_after)))}
    return Outcome(error.status, error=error.told(base, *named), retry_after=retry, model=model)


async def finished(later: Later, base: str, task: Task, model: str = "") -> Outcome | None:
    """The outcome of what comes later."""
    try:
        item = await later()
    except Exception as error:
        return failed(error, base, task.type, task.uuid, model)
    return None if item is None else succeeded(item, model)
