"""All tasks by their types: what each array is taken apart into, and who works on it."""

from __future__ import annotations

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
    """`by_type` has who works on a task of each type but captions."""

    by_type: Mapping[str, Handler]
    captions: Captions
    uploads: Uploads
    state: State

    @classmethod
    def of(cls, records: Records, service: Service, kept: KeptPredictions, state: State) -> Tasks:
        """Those of a server that keeps records."""
        captions = Captions(service, records.files, kept.predictions, kept.deliverer.check)
        polls, uploads = Polls(kept.predictions), Uploads(service, records.files)
        utilities = Utilities(service, kept.predictions)
        by_type: dict[str, Handler] = {
            "getResponse": polls.response, "getTaskDetails": polls.details, "imageUpload": uploads.image,
            "mediaStorage": uploads.media, "modelSearch": utilities.search, "accountManagement": utilities.account,
            PING: _pong,
        }  # fmt: skip
        return cls(by_type, captions, uploads, state)

    async def begin(
        self, sender: Sender, given: Sequence[Any], seen: set[str]
    ) -> list[tuple[Task, Begun] | Outcome]:
        """Begin the tasks of an array in their order, since one may be about an earlier one; captions side by side
        begin together. `seen` are the UUIDs of those before. What is wrong with a task is its outcome.
        """
        begun: list[tuple[Task, Begun] | Outcome] = []
        for together, some in groupby(given, _is_caption):
            if together:
                begun += await self._begin_captions(sender, [*some], seen)
            else:
                begun += [await self._begin(sender, task, seen) for task in some]
        return begun

    async def _begin_captions(
        self, sender: Sender, given: Sequence[dict[str, Any]], seen: set[str]
    ) -> list[tuple[Task, Begun] | Outcome]:
        found = [self._right(sender, each, seen) for each in given]
        tasks = [each for each in found if isinstance(each, Task)]
        try:
            begun: Sequence[Begun | Exception] = await self.captions.begin(sender, tasks) if tasks else []
        except Exception as error:
            begun = [error] * len(tasks)
        told = (
            failed(each, sender.base, task.type, task.uuid) if isinstance(each, Exception) else (task, each)
            for task, each in zip(tasks, begun, strict=True)
        )
        return [next(told) if isinstance(each, Task) else each for each in found]

    async def _begin(self, sender: Sender, given: Any, seen: set[str]) -> tuple[Task, Begun] | Outcome:
        task = self._right(sender, given, seen)
        if isinstance(task, Outcome):
            return task
        try:
            return task, await self.by_type[task.type](sender, task)
        except Exception as error:
            return failed(error, sender.base, task.type, task.uuid)

    def _right(self, sender: Sender, given: Any, seen: set[str]) -> Task | Outcome:
        """A task, as far as all are alike, or what is wrong with it."""
        fields = given if isinstance(given, dict) else {}
        task_type = fields.get("taskType")
        try:
            if not self.state.accepting and task_type not in _TO_THE_END:
                raise NotAcceptingError
            return self._task(given, seen)
        except Exception as error:
            return failed(error, sender.base, task_type, fields.get("taskUUID"))

    def _task(self, given: Any, seen: set[str]) -> Task:
        """What all tasks have in common. Raises TaskError."""
        if not isinstance(given, dict):
            raise TaskError("invalidRequest", f"A task must be an object, not {shown(given)}.")
        task_type, uuid = given.get("taskType"), given.get("taskUUID")
        if task_type is None:
            raise missing("taskType")
        if task_type == PING:
            return Task(PING, "", given)
        if not isinstance(task_type, str) or (task_type not in self.by_type and task_type not in TYPES):
            named = [*TYPES, *self.by_type, AUTHENTICATION]
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


async def _pong(sender: Sender, task: Task) -> Begun:
    return Begun({"taskType": PING, "pong": True})


def _is_caption(given: Any) -> bool:
    return isinstance(given, dict) and given.get("taskType") in TYPES
