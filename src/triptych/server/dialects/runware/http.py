"""POST of an array of tasks: one answer for all of them, when the last one is over."""

from __future__ import annotations

import asyncio
import uuid as uuids
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...endpoint import WrongKeyError, owner_of
from ...exchange import Answer, Exchange
from ...service import Service
from .begun import Begun, Caller, Outcome, Task, finished, succeeded
from .errors import failed
from .tasks import AUTHENTICATION, Tasks
from .wire import read_tasks, to_json

SERVED = "x-triptych-model"


@dataclass(frozen=True, slots=True)
class HttpTasks:
    """The handler. No `keys`: no key is asked for."""

    tasks: Tasks
    keys: tuple[bytes, ...]

    async def run(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Run an array of tasks; each is answered by an item or by an error, in their order."""
        given = await read_tasks(body)
        exchange.owner = self._owner(exchange, given)
        caller = Caller.of(exchange.owner, exchange.scope, exchange.headers, exchange.query)
        asked = [task for task in given if not _is_authentication(task)]
        if not asked:
            item = {"taskType": AUTHENTICATION, "connectionSessionUUID": str(uuids.uuid4())}
            return Answer(to_json({"data": [item]}))
        seen: set[str] = set()
        # In their order, so that one may ask for the response of an earlier one.
        begun = [await self.tasks.begin(caller, task, seen) for task in asked]
        outcomes = await asyncio.gather(*(_outcome(each, caller.base) for each in begun))
        return _answer(exchange, outcomes)

    def _owner(self, exchange: Exchange, given: Sequence[Any]) -> str:
        """Whose the tasks are, by a header or by a task that says so. Raises WrongKeyError."""
        if not self.keys:
            return ""
        scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
        sent: list[Any] = [token.strip()] if scheme.lower() == "bearer" else []
        sent += [task.get("apiKey") for task in given if _is_authentication(task)]
        keys = [key for key in sent if isinstance(key, str)]
        for key in keys:
            try:
                return owner_of(key, self.keys)
            except WrongKeyError:
                continue
        raise WrongKeyError(any(keys))


def _is_authentication(task: Any) -> bool:
    return isinstance(task, dict) and task.get("taskType") == AUTHENTICATION


async def _outcome(begun: tuple[Task, Begun] | Outcome, base: str) -> Outcome:
    """What is told of a task: what is there at once, or else what comes later."""
    if isinstance(begun, Outcome):
        return begun
    task, under_way = begun
    if under_way.now is not None:
        return succeeded(under_way.now, under_way.model)
    assert under_way.later is not None
    outcome = await finished(under_way.later, base, task, under_way.model)
    assert outcome is not None
    return outcome


def _answer(exchange: Exchange, outcomes: Sequence[Outcome]) -> Answer:
    """A success as soon as one task is one; without any, the status of the first error: clients of a total failure look
    at nothing else.
    """
    items = [outcome.item for outcome in outcomes if outcome.item is not None]
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    served = list(dict.fromkeys(outcome.model for outcome in outcomes if outcome.model))
    headers = {SERVED: ", ".join(served)} if served else {}
    if served:
        exchange.told["model"] = served[0]
    if items:
        return Answer(to_json({"data": items} | ({"errors": errors} if errors else {})), headers=headers)
    first = next(outcome for outcome in outcomes if outcome.error is not None)
    return Answer(to_json(failed(errors)), first.status, headers=headers | first.retry_after)
