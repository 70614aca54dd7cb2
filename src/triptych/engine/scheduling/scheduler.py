"""Who computes how many tokens in the next step, and who waits. No tensors.

A sequence has known tokens and computed tokens; a step lets some sequences compute some tokens. Prefill,
chunked prefill, decode and the return after a preemption are that one case. The engine's cycle is

    plan = scheduler.schedule()      # None: nothing to do until add() or append()
    ... execute the plan ...
    scheduler.commit(plan)           # or cancel(plan) if it failed
    for each row with sample=True whose sequence is not finished: append(sequence, token) or finish(sequence)

with one plan in flight at a time; `add`, `abort` and `finish` are allowed at any moment.
"""

from __future__ import annotations

from collections import Counter

from ..errors import ContextOverflowError, MemoryBudgetError, ParameterError, PromptError, QueueFullError
from ..plan import StepPlan
from ..sequence import Sequence
from .kv_cache import BlockManager, require
from .limits import SchedulerLimits, SchedulerStats
from .pins import EmbeddingIndex, NoEmbeddings, Pins
from .queues import Job, Queues
from .step_builder import StepBuilder

__all__ = ["Scheduler", "SchedulerLimits", "SchedulerStats"]


class Scheduler:
    """Decides each step within `limits`; every request ends, and none overtakes another of its priority.

    Running sequences go first: decodes, then partly computed prompts; then waiting ones by (priority,
    arrival). A sequence is admitted when blocks for all its known tokens and one more are free, and never
    before one that waits ahead of it. When a running sequence needs a block and none is free, the youngest
    one gives its blocks back and waits to be computed again. The oldest is never the victim of another, so it
    always advances: there is no livelock.
    """

    def __init__(
        self, blocks: BlockManager, limits: SchedulerLimits, embeddings: EmbeddingIndex | None = None
    ) -> None:
        self.blocks = blocks
        self.limits = limits
        self.max_length = min(blocks.capacity, limits.max_context or blocks.capacity)
        self._queues = Queues()
        self._pins = Pins(embeddings if embeddings is not None else NoEmbeddings())
        self._watermark = max(1, blocks.num_blocks // 100)
        self._flight: StepPlan | None = None
        self._totals: Counter[str] = Counter()

    # -- requests come and go

    def add(self, sequences: list[Sequence]) -> None:
        """Queue the siblings of one request; they share a prompt.

        Raises `QueueFullError`, `PromptError` (no tokens), `ContextOverflowError` (longer than the context),
        `MemoryBudgetError` (longer than the whole KV cache) or `ParameterError` (the request id is in use);
        then nothing was queued.
        """
        first, queues = sequences[0], self._queues
        self._check_length(max(len(sequence.tokens) for sequence in sequences))
        if first.request.request_id in queues.groups:
            raise ParameterError(
                f"request id {first.request.request_id!r} is in use; choose another", "request_id"
            )
        if queues.not_started >= self.limits.max_waiting:
            raise QueueFullError(
                f"{queues.not_started} requests are waiting and the limit is {self.limits.max_waiting}; "
                "try again later"
            )
        full_blocks = (first.prompt_length - 1) // self.blocks.block_size if self.blocks.prefix_cache else 0
        queues.add(sequences, full_blocks * self.blocks.block_size)

    def append(self, sequence: Sequence, token: int) -> None:
        """The sequence's next token is known. Raises `ContextOverflowError` at `max_length` tokens."""
        if len(sequence.tokens) >= self.max_length:
            raise ContextOverflowError(
                f"the sequence has {len(sequence.tokens)} tokens and at most {self.max_length} fit; "
                "finish it or start with a shorter prompt"
            )
        if sequence.status == "finished":
            raise ValueError("a finished sequence takes no more tokens")
        sequence.tokens.append(token)

    def finish(self, sequence: Sequence) -> None:
        """The sequence computes no more; what it computed can still be found. No effect the second time."""
        if sequence.status == "finished":
            return
        job = self._queues.jobs[sequence]
        self._queues.finish(job)
        self._totals["finished"] += 1
        if not job.in_flight:  # else the step still writes to its blocks
            self._release(job)

    def abort(self, request_id: str) -> list[Sequence]:
        """Finish all sequences of a request, whatever they are doing; returns those that had not finished."""
        group = self._queues.groups.get(request_id)
        ended = [job.sequence for job in group.live] if group is not None else []
        for sequence in ended:
            self.finish(sequence)
        return ended

    @property
    def has_work(self) -> bool:
        """Whether anything waits, runs or is in flight."""
        return bool(self._queues.jobs)

    def cached_prefix(self, sequence: Sequence) -> int:
        """Tokens of the sequence that would come from the prefix cache if it were admitted now."""
        return len(self.blocks.find_prefix(sequence)) * self.blocks.block_size

    # -- the cycle

    def schedule(self) -> StepPlan | None:
        """The next step, or None when no sequence has a token to compute."""
        if self._flight is not None:
            raise ValueError("the previous plan is neither committed nor cancelled")
        if not self._queues.jobs:
            return None
        roomy = self._make_room()
        step = StepBuilder(self._pins.index, self.blocks.block_size, self.limits)
        self._continue_running(step)
        if roomy:  # whoever has just been preempted would only be preempted again
            self._admit(step)
        if step.plan.rows:
            self._flight = step.plan
        return self._flight

    def commit(self, plan: StepPlan) -> None:
        """The step was executed: its tokens count as computed, and its full blocks can be found by others."""
        if plan is not self._flight:
            raise ValueError("this plan is not in flight")
        jobs, size = self._queues.jobs, self.blocks.block_size
        for row in plan.rows:
            sequence, job = row.sequence, jobs[row.sequence]
            before, sequence.computed = sequence.computed, row.context
            sequence.reached = max(sequence.reached, row.context)
            if row.context // size > before // size:
                self.blocks.publish(sequence, before)
            if job.pins:
                self._pins.release(job.pins, row.context)
            if row.context >= job.group.shareable:
                job.group.shared = True
        self._totals["computed"] += len(plan)
        self._land(plan)

    def cancel(self, plan: StepPlan) -> None:
        """The step failed: nothing of it counts, and rows that have not finished will be planned again.

        No effect on a plan that has been committed.
        """
        if plan is self._flight:
            self._land(plan)

    def stats(self) -> SchedulerStats:
        blocks, totals = self.blocks, self._totals
        return SchedulerStats(
            waiting=len(self._queues.waiting),
            running=len(self._queues.running),
            blocks_total=blocks.num_blocks,
            blocks_empty=blocks.free_blocks - blocks.cached_blocks,
            blocks_cached=blocks.cached_blocks,
            blocks_used=blocks.used_blocks,
            prompt_tokens=totals["prompt"],
            cached_tokens=totals["cached"],
            computed_tokens=totals["computed"],
            preemptions=totals["preemptions"],
            finished=totals["finished"],
        )

    def check(self) -> None:
        """Raise AssertionError unless all books balance. For tests after each step, and when idle."""
        queues = self._queues
        queues.check()
        holders = queues.running + queues.ended
        self.blocks.check([job.sequence for job in holders])
        self._pins.check([job.pins for job in holders])
        require(len(queues.running) <= self.limits.max_rows, "more sequences run than rows are allowed")
        require(all(job.in_flight for job in queues.ended), "an ended sequence waits for no step")
        for job in queues.waiting:
            sequence = job.sequence
            require(not (sequence.block_table or sequence.computed or job.pins), "who waits holds something")
        for job in holders:
            computed = job.sequence.computed
            require(computed <= len(job.sequence.tokens), "more is computed than known")
            begun = {span.offset for span in job.sequence.spans if span.offset < computed < span.end}
            require(begun <= job.pins.keys(), "a half pasted image is not pinned")

    # -- inside: running sequences

    def _make_room(self) -> bool:
        """Blocks for the known tokens of all who run; False if somebody was preempted for that."""
        blocks, running, index, before = self.blocks, self._queues.running, 0, len(self._queues.running)
        while index < len(running):
            sequence = running[index].sequence
            table = sequence.block_table
            if len(sequence.tokens) > len(table) * blocks.block_size:
                missing = blocks.blocks_for(len(sequence.tokens)) - len(table)
                if missing > blocks.free_blocks:
                    self._preempt(running[-1])  # perhaps the one that asks, when all others are older
                    continue
                table += blocks.allocate(missing, after=table[-1])
            index += 1
        return len(running) == before

    def _preempt(self, job: Job) -> None:
        self._queues.preempt(job)
        self._give_back(job)
        job.sequence.computed = 0
        self._totals["preemptions"] += 1

    def _continue_running(self, step: StepBuilder) -> None:
        prefills: list[Job] = []
        for job in self._queues.running:
            sequence = job.sequence
            remaining = len(sequence.tokens) - sequence.computed
            if remaining == 1 and sequence.computed >= sequence.prompt_length:
                step.add_decode(sequence)
                job.in_flight = True
            elif remaining:
                prefills.append(job)
        for job in prefills:
            length = step.fit(job.sequence, job.sequence.computed)
            if length:
                self._add_prefill(step, job, length)

    def _add_prefill(self, step: StepBuilder, job: Job, length: int) -> None:
        self._pins.take(job.pins, step.add_prefill(job.sequence, length))
        job.in_flight = True

    # -- inside: waiting sequences

    def _admit(self, step: StepBuilder) -> None:
        waiting, running, index = self._queues.waiting, self._queues.running, 0
        while index < len(waiting) and len(running) < self.limits.max_rows and step.prefill_left:
            job = waiting[index]
            if job.group.running and not job.group.shared:
                index += 1  # a sibling is computing the prompt; sharing its blocks will cost nothing
                continue
            found = self._find_prefix(job)
            count = self._blocks_to_admit(job.sequence, found)
            length = 0 if count is None else step.fit(job.sequence, len(found) * self.blocks.block_size)
            if count is None or not length:
                return  # nobody overtakes, or long prompts would wait for ever
            self._start(job, found, count)
            self._add_prefill(step, job, length)

    def _find_prefix(self, job: Job) -> list[int]:
        sequence = job.sequence
        if job.lead and sequence.params.prompt_logprobs is not None and not sequence.generated_length:
            return []  # every prompt position must pass through the model to have its logits
        return self.blocks.find_prefix(sequence)

    def _blocks_to_admit(self, sequence: Sequence, found: list[int]) -> int | None:
        """How many new blocks to start the sequence with, or None when it must wait for more to be free.

        All its known tokens and one block to grow into, unless it can never need that block. The watermark
        stays free for those who run already; who runs alone may take all.
        """
        blocks, answer = self.blocks, sequence.params.max_tokens or self.max_length
        longest = min(self.max_length, sequence.prompt_length + answer)
        known, most = blocks.blocks_for(len(sequence.tokens)), blocks.blocks_for(longest)
        wanted = max(known, min(known + 1, most)) - len(found)
        available = blocks.free_blocks - blocks.unused(found)
        if not self._queues.running:
            return min(wanted, available)
        return wanted if available - wanted >= self._watermark else None

    def _start(self, job: Job, found: list[int], count: int) -> None:
        sequence, blocks = job.sequence, self.blocks
        blocks.share(found)
        sequence.block_table = found + blocks.allocate(count, after=found[-1] if found else None)
        sequence.computed = len(found) * blocks.block_size
        self._queues.start(job)
        if sequence.computed >= job.group.shareable:
            job.group.shared = True
        if not job.admitted:  # what a preempted sequence finds again is its own work, no saving
            job.admitted = True
            sequence.cached = sequence.computed
            self._totals["prompt"] += sequence.prompt_length
            self._totals["cached"] += sequence.cached

    # -- inside: endings

    def _land(self, plan: StepPlan) -> None:
        self._flight = None
        for row in plan.rows:
            self._queues.jobs[row.sequence].in_flight = False
        for job in list(self._queues.ended):
            self._release(job)

    def _release(self, job: Job) -> None:
        self._give_back(job)
        self._queues.drop(job)

    def _give_back(self, job: Job) -> None:
        self._pins.release(job.pins)
        self.blocks.free(job.sequence.block_table)
        job.sequence.block_table = []

    def _check_length(self, tokens: int) -> None:
        if not tokens:
            raise PromptError("the prompt is empty; give at least one token to continue from")
        if tokens < self.max_length:
            return
        if self.max_length < self.blocks.capacity:
            raise ContextOverflowError(
                f"the prompt has {tokens} tokens, which leaves no room to answer in a context of "
                f"{self.max_length}; shorten the prompt or use fewer or smaller images"
            )
        raise MemoryBudgetError(
            f"the prompt has {tokens} tokens, which leaves no room to answer in a KV cache of "
            f"{self.max_length}; shorten the prompt or give the KV cache more memory"
        )
