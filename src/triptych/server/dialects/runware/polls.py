"""What is asked about a task that was sent before: `getResponse` and `getTaskDetails`. Their UUID is that task's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ...predictions.predictions import Predictions
from ...store.predictions import PredictionRecord
from .begun import Begun, Item, Sender, Task
from .errors import TaskError
from .shown import Shown, key_of, polled

# Seconds for which a WebSocket that asked once hears of the end without asking again.
PUSHED_WITHIN = 1800.0


@dataclass(frozen=True, slots=True)
class Polls:
    """The handlers."""

    predictions: Predictions

    async def response(self, sender: Sender, task: Task) -> Begun:
        """How far a task is. Whoever asks on a WebSocket hears of its end as soon as it is there: one client waits half
        a minute before it asks again. Raises TaskError, also for a task that failed.
        """
        record = await self._find(sender, task, "taskFailedOrNotFound")
        item = polled(record, task.uuid)
        if record.ended or sender.pushing is None or record.id in sender.pushing:
            return Begun(item, model=record.model)
        sender.pushing.add(record.id)
        return Begun(item, partial(self._end, sender.pushing, record.id, task.uuid), record.model)

    async def _end(self, pushing: set[str], prediction_id: str, uuid: str) -> Item | None:
        try:
            record = await self.predictions.wait(prediction_id, PUSHED_WITHIN)
        finally:
            pushing.discard(prediction_id)
        return polled(record, uuid) if record is not None and record.ended else None

    async def details(self, sender: Sender, task: Task) -> Begun:
        """A task as it was sent, without the bytes of its image, and its answer so far. Raises TaskError."""
        record = await self._find(sender, task, "taskNotFound")
        try:
            response: Item = {"data": [polled(record, task.uuid)]}
        except TaskError as error:
            response = {"errors": [error.told(sender.base, Shown.of(record).type, task.uuid)]}
        item = {"taskType": task.type, "taskUUID": task.uuid, "request": [record.input], "response": response}
        return Begun(item, model=record.model)

    async def _find(self, sender: Sender, task: Task, code: str) -> PredictionRecord:
        record = await self.predictions.by_key(sender.owner, key_of(task.uuid))
        if record is None or record.removed_us is not None:
            raise TaskError(code, "There is no task with this taskUUID: it was never sent, or is kept no more.")
        return record
