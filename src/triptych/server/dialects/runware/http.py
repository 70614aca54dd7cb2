"""POST of an array of tasks: one answer for all of them, when the last one is over."""

from __future__ import annotations

import asyncio
import uuid as uuids
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...accounts.accounts import Accounts
from ...accounts.caller import Caller
from ...accounts.errors import WrongKeyError
from ...exchange import Answer, Exchange
from ...service import Service
from .begun import Begun, Outcome, Sender, Task, finished, succeeded
from .errors import failed
from .shown import DIALECT
from .tasks import AUTHENTICATION, Tasks
from .wire import MOST_BEFORE_KEY, read_tasks, to_json

SERVED = "x-triptych-model"


@dataclass(frozen=True, slots=True)
class HttpTasks:
    """The handler."""

    tasks: Tasks
    accounts: Accounts

    async def body(self, exchange: Exchange, most: int) -> bytes:
        """The body. It may have the key in it, so it is read first; where wrong keys come from, not much of it."""
        if exchange.caller is None and self.accounts.attempts.slowed(exchange.scope):
            most = min(most, MOST_BEFORE_KEY)
        return await exchange.body(most)

    async def run(self, service: Service, exchange: Exchange, body: bytes) -> Answer:
        """Run an array of tasks; each is answered by an item or by an error, in their order."""
        given = await read_tasks(body)
        exchange.caller = self._caller(exchange, given)
        exchange.caller.check(DIALECT)
        exchange.owner = exchange.caller.id
        sender = Sender.of(exchange.owner, exchange.scope, exchange.headers, exchange.query)
        asked = [task for task in given if not _is_authentication(task)]
        if not asked:
            item = {"taskType": AUTHENTICATION, "connectionSessionUUID": str(uuids.uuid4())}
            return Answer(to_json({"data": [item]}))
        begun = await self.tasks.begin(sender, asked, set())
        exchange.limits |= self.accounts.limits(exchange.owner)
        with self.tasks.captions.waited_for(sum(_waits(each) for each in begun)):
            outcomes = await _outcomes(begun, sender.base)
        return _answer(exchange, outcomes)

    def _caller(self, exchange: Exchange, given: Sequence[Any]) -> Caller:
        """Whose the tasks are, by what came with the request or by a task that says so. Raises WrongKeyError,
        KeysUnknownError, RateLimitError.
        """
        if exchange.caller is not None:
            return exchange.caller
        # A wrong one in the header has been looked at, and is no reason to refuse a right one here.
        wrong: Exception = exchange.unknown or WrongKeyError()
        for key in (task.get("apiKey") for task in given if _is_authentication(task)):
            try:
                return self.accounts.bearer(exchange.scope, key if isinstance(key, str) else "")
            except WrongKeyError as error:
                wrong = error
        raise wrong


def _is_authentication(task: Any) -> bool:
    return isinstance(task, dict) and task.get("taskType") == AUTHENTICATION


def _waits(begun: tuple[Task, Begun] | Outcome) -> bool:
    """Whether there is a caption to wait for."""
    return not isinstance(begun, Outcome) and begun[1].waits and begun[1].now is None


def _works(begun: tuple[Task, Begun] | Outcome) -> bool:
    """Whether there is work to do, such as an upload."""
    return not isinstance(begun, Outcome) and begun[1].now is None and not begun[1].waits


async def _outcomes(begun: Sequence[tuple[Task, Begun] | Outcome], base: str) -> list[Outcome]:
    """What is told of tasks, once there is something to tell of each. Captions are worked on in any case: there is
    nothing to it but to wait for one after the other.
    """
    if any(map(_works, begun)):
        return await asyncio.gather(*(_outcome(each, base) for each in begun))
    return [await _outcome(each, base) for each in begun]


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
