"""All tasks by their types: what each array is taken apart into, and who works on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ...endpoint import NotAcceptingError
from ...predictions.kept import KeptPredictions
from ...records import Records
from ...service import Service
from ...watch import State
from .begun import Begun, Outcome, Sender, Task, failed
from .caption import TYPES, Captions
from .errors import TaskError, shown
from .fields import invalid, missing
from .images import UUID
from .polls import Polls
from .uploads import Uploads
from .utilities import Utilities

AUTHENTICATION = "authentication"
PING = "ping"
# Their UUID is another task's.
_ABOUT_OTHERS = ("getResponse", "getTaskDetails")
# Answered by a server that is about to stop: they are no work, and somebody waits for what they ask about.
_TO_THE_END = (*_ABOUT_OTHERS, PING)

Handler = Callable[[Sender, Task], Awaitable[Begun]]


@dataclass(frozen=True, slots=True)
class Tasks:
    """`by_type` has who works on a task of each type."""

    by_type: Mapping[str, Handler]
    uploads: Uploads
    state: State

    @classmethod
    def of(cls, records: Records, service: Service, kept: KeptPredictions, state: State) -> Tasks:
        """Those of a server that keeps records."""
        captions = Captions(service, records.files, kept.predictions, kept.deliverer.check)
        polls, uploads = Polls(kept.predictions), Uploads(service, records.files)
        utilities = Utilities(service, kept.predictions)
        by_type: dict[str, Handler] = {
            **dict.fromkeys(TYPES, captions.begin), "getResponse": polls.response, "getTaskDetails": polls.details,
            "imageUpload": uploads.image, "mediaStorage": uploads.media, "modelSearch": utilities.search,
            "accountManagement": utilities.account,
        }  # fmt: skip
        return cls(by_type, uploads, state)

    async def begin(
        self, sender: Sender, given: Sequence[Any], seen: set[str]
    ) -> list[tuple[Task, Begun] | Outcome]:
        """Begin the tasks of an array in their order, since one may be about an earlier one; captions side by side
        begin together, which is a single transaction. `seen` are the UUIDs of those before. What is wrong with a task
        is its outcome.
        """
        begun: list[tuple[Task, Begun] | Outcome] = []
        for together, some in groupby(given, _is_caption):
            each = [self._begin(sender, task, seen) for task in some]
            begun += await asyncio.gather(*each) if together else [await one for one in each]
        return begun

    async def _begin(self, sender: Sender, given: Any, seen: set[str]) -> tuple[Task, Begun] | Outcome:
        fields = given if isinstance(given, dict) else {}
        task_type, task_uuid = fields.get("taskType"), fields.get("taskUUID")
        try:
            if not self.state.accepting and task_type not in _TO_THE_END:
                raise NotAcceptingError
            if task_type == PING:
                return Task(PING, "", fields), Begun({"taskType": PING, "pong": True})
            task = self._task(given, seen)
            return task, await self.by_type[task.type](sender, task)
        except Exception as error:
            return failed(error, sender.base, task_type, task_uuid)

    def _task(self, given: Any, seen: set[str]) -> Task:
        """What all tasks have in common. Raises TaskError."""
        if not isinstance(given, dict):
            raise TaskError("invalidRequest", f"A task must be an object, not {shown(given)}.")
        task_type, uuid = given.get("taskType"), given.get("taskUUID")
        if task_type is None:
            raise missing("taskType")
        if not isinstance(task_type, str) or task_type not in self.by_type:
            named = [*self.by_type, PING, AUTHENTICATION]
            message = f"The task type {shown(task_type)} is not supported here."
            raise TaskError("unsupportedTaskType", message, "taskType", "string", allowedValues=named)
        if uuid is None:
            raise missing("taskUUID")
        if not isinstance(uuid, str) or not UUID.fullmatch(uuid):
            raise invalid("taskUUID", "string", f"taskUUID must be a UUID, not {shown(uuid)}.")
        task = Task(task_type, uuid, given)
        if task_type not in _ABOUT_OTHERS:
            if task.key in seen:
                message = "Two tasks of the array have this taskUUID; every task needs one of its own."
                raise TaskError("conflictTaskUUID", message, "taskUUID", "string")
            seen.add(task.key)
        return task


def _is_caption(given: Any) -> bool:
    return isinstance(given, dict) and given.get("taskType") in TYPES
