"""The one loop that owns all device state: schedule, execute, commit, sample, emit.

Everything here runs on the engine's thread. Other threads reach it through the mailbox only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .active import ActiveChoice, ActiveRequest
from .counters import Counters
from .errors import EngineStoppedError, ModelOutputError, TriptychError
from .imaging.pixels import Intake
from .plan import StepPlan
from .runner import EncodeFailure, Runner, StepResult, scored_tokens
from .sampling.sampler import Sampled, Sampler
from .scheduling.scheduler import Scheduler

if TYPE_CHECKING:
    from .request import ImageSpan

log = logging.getLogger("triptych.engine")

# Large models answer from the weights as they are stored and are brought into their fastest form meanwhile, this
# many seconds after each step: the first token does not wait for it, and later ones hardly.
PACKING_SLICE = 0.1

NOT_FINITE = (
    "the model's output is not finite (NaN or infinite logits), so no token can be chosen; the checkpoint is "
    "damaged, or its values overflow this precision: try another one"
)


@dataclass(frozen=True, slots=True)
class Submit:
    active: ActiveRequest


@dataclass(frozen=True, slots=True)
class Abort:
    request_id: str


@dataclass(frozen=True, slots=True)
class Close:
    pass


Command = Submit | Abort | Close


class Mailbox:
    """Commands from other threads, taken between two steps."""

    def __init__(self) -> None:
        self._commands: deque[Command] = deque()
        self._woken = False
        self._changed = threading.Condition()

    def put(self, command: Command) -> None:
        with self._changed:
            self._commands.append(command)
            self._changed.notify()

    def wake(self) -> None:
        """Lets a waiting `take` return without a command: something else is ready."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def take(self, wait: bool) -> list[Command]:
        """All commands so far; with `wait`, blocks until there is one or somebody wakes us."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._commands or self._woken)
            self._woken = False
            commands = list(self._commands)
            self._commands.clear()
            return commands


@dataclass(slots=True)
class EngineLoop:
    """Requests in, events out; one step at a time. `on_turn` is called after each, when its events are out."""

    runner: Runner
    scheduler: Scheduler
    sampler: Sampler
    intake: Intake[ActiveRequest]
    mailbox: Mailbox
    on_turn: Callable[[], None] = lambda: None
    active: dict[str, ActiveRequest] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)

    def run(self) -> None:
        """Returns when a `Close` command arrives. `stop` must follow, whether it returns or raises."""
        while self._take_commands():
            self._admit()
            plan = self.scheduler.schedule()
            if plan is not None:
                self._guarded_step(plan)
            self.on_turn()
            self._pack()

    def _pack(self) -> None:
        model = self.runner.model
        if model.unpacked:
            try:
                model.pack(PACKING_SLICE)
            except Exception:  # of memory, most likely; what is packed already and what is not both work
                log.exception("the other matrices stay as they are stored")
                model.unpacked.clear()

    def stop(self, reason: str) -> None:
        """Ends every unfinished request with EngineStoppedError; nothing may be submitted any more."""
        for command in self.mailbox.take(wait=False):
            if isinstance(command, Submit):
                self.active[command.active.request.request_id] = command.active
        for active in list(self.active.values()):
            self._fail(active, EngineStoppedError(reason))
        self.on_turn()

    def _take_commands(self) -> bool:
        idle = not (self.scheduler.has_work or self.intake.can_start or self.runner.model.unpacked)
        for command in self.mailbox.take(wait=idle):
            if isinstance(command, Close):
                return False
            if isinstance(command, Abort):
                self._abort(command.request_id)
            else:
                self._receive(command.active)
        return True

    def _receive(self, active: ActiveRequest) -> None:
        self.active[active.request.request_id] = active
        to_decode, shown = self._spans_to_decode(active), len(active.request.prompt.spans)
        self.counters.image_queries += shown
        self.counters.image_hits += shown - len(to_decode)
        self.intake.push(active, to_decode)

    def _spans_to_decode(self, active: ActiveRequest) -> list[ImageSpan]:
        """Images whose features are neither kept nor covered by a cached prefix of the prompt."""
        embeddings = self.runner.embeddings
        missing = {span.digest: span for span in active.request.prompt.spans if not embeddings.contains(span.digest)}
        if not missing:
            return []
        blocks = self.scheduler.blocks
        cached = len(blocks.find_prefix(active.choices[0].sequence)) * blocks.block_size
        return [span for span in missing.values() if span.end > cached]

    def _admit(self) -> None:
        for active, error in self.intake.poll():
            if error is not None:
                self._fail(active, error)
                continue
            try:
                self.scheduler.add([choice.sequence for choice in active.choices])
            except TriptychError as refused:
                self._fail(active, refused)

    def _abort(self, request_id: str) -> None:
        active = self.active.get(request_id)
        if active is None:  # it ended before the abort arrived
            return
        self.counters.aborted += 1
        self.scheduler.abort(request_id)
        active.abort_choices()
        self._end(active)

    def _guarded_step(self, plan: StepPlan) -> None:
        """A step that fails ends the requests it computed, not the engine."""
        started = time.perf_counter()
        self.counters.steps += 1  # now: who has the answer finds its last step counted
        try:
            self._step(plan)
        except Exception as error:
            log.exception("a step of %d tokens failed", len(plan))
            for request_id in {row.sequence.request.request_id for row in plan.rows}:
                if request_id in self.active:
                    self._fail(self.active[request_id], error)
            self.scheduler.cancel(plan)
        self.counters.busy_seconds += time.perf_counter() - started

    def _step(self, plan: StepPlan) -> None:
        for row in plan.rows:
            self.active[row.sequence.request.request_id].mark_started()
        failures = self.runner.encode(plan.encode) if plan.encode else []
        if failures:
            self._fail_images(failures)
            self.scheduler.cancel(plan)
            return
        result = self.runner.forward(plan)
        self.scheduler.commit(plan)
        self.counters.step_done(len(plan))
        self._score_prompts(plan, result)
        self._sample(result)

    def _fail_images(self, failures: list[EncodeFailure]) -> None:
        errors = {failure.span.digest: failure.error for failure in failures}
        for active in list(self.active.values()):
            for span in active.request.prompt.spans:
                if span.digest in errors:
                    self._fail(active, errors[span.digest])
                    break

    def _score_prompts(self, plan: StepPlan, result: StepResult) -> None:
        """Log-probabilities of prompt tokens, for the requests that asked: each row predicts the tokens after it."""
        for row in plan.rows:
            count = scored_tokens(row)
            if not count:
                continue
            assert result.hidden is not None
            sequence, first = row.sequence, row.context - row.length
            targets = sequence.tokens[first + 1 : first + 1 + count]
            hidden = result.hidden[row.start : row.start + count]
            head, top = self.runner.model.decoder.logits, sequence.params.prompt_logprobs or 0
            scores = self.sampler.score(head, hidden, targets, top)
            self.active[sequence.request.request_id].add_prompt_logprobs(first, scores)

    def _sample(self, result: StepResult) -> None:
        if result.logits is None:
            return
        ready = self._ready_choices(result)
        if not ready:
            return
        logits = result.logits
        if len(ready) < len(result.sampled):
            logits = logits[[number for number, _, _ in ready]]
        tokens = self.sampler.sample(logits, [choice.row for _, _, choice in ready])
        for (_, active, choice), token in zip(ready, tokens, strict=True):
            if active.ended:  # another choice of it has just failed
                continue
            if token.finite:
                self._emit(active, choice, token)
            else:
                self._fail(active, ModelOutputError(NOT_FINITE))

    def _ready_choices(self, result: StepResult) -> list[tuple[int, ActiveRequest, ActiveChoice]]:
        """(row of the logits, request, choice) of all that can be sampled; a dead end in a grammar ends its request."""
        ready = []
        for number, row in enumerate(result.sampled):
            active = self.active.get(row.sequence.request.request_id)
            if active is None:
                continue
            choice = active.choices[row.sequence.index]
            try:
                choice.prepare()
            except TriptychError as error:
                self._fail(active, error)
                continue
            ready.append((number, active, choice))
        return [(number, active, choice) for number, active, choice in ready if not active.ended]

    def _emit(self, active: ActiveRequest, choice: ActiveChoice, token: Sampled) -> None:
        try:
            delta = choice.accept(token)
        except TriptychError as error:
            self._fail(active, error)
            return
        if delta.finish_reason is None:
            self.scheduler.append(choice.sequence, token.token_id)
        else:
            self.scheduler.finish(choice.sequence)
        active.deliver(delta)
        if active.done:
            self._end(active)

    def _fail(self, active: ActiveRequest, error: Exception) -> None:
        self.counters.failed += 1
        self._end(active, error)

    def _end(self, active: ActiveRequest, error: Exception | None = None) -> None:
        """Takes the request out of every queue, frees what it held, and tells its owner."""
        request_id = active.request.request_id
        del self.active[request_id]
        self.intake.discard(request_id)
        if error is not None:
            self.scheduler.abort(request_id)
        usage = active.finish(error)
        self.counters.finished += 1
        self.counters.prompt_tokens += usage.prompt_tokens
        self.counters.cached_tokens += usage.cached_tokens
        self.counters.completion_tokens += usage.completion_tokens
