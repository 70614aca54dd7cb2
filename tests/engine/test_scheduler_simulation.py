"""Ten thousand random requests through scheduler, block manager and a fake runner, all books checked each step."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from fake_runner import IMAGE_TOKEN, FakeEmbeddings, FakeRunner, make_image
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.engine.errors import ContextOverflowError, MemoryBudgetError, QueueFullError
from triptych.engine.plan import Row, StepPlan
from triptych.engine.request import Prompt, Request, SamplingParams
from triptych.engine.scheduling.kv_cache import BlockManager
from triptych.engine.scheduling.scheduler import Scheduler, SchedulerLimits
from triptych.engine.sequence import Sequence

SIZE = 4
EXAMPLES = 84
REQUESTS = 120
# (name, length, tiles): what is behind an image token depends on the name alone.
IMAGES = (("cat", 3, 1), ("dog", 3, 2), ("owl", 6, 2), ("fox", 9, 3), ("elk", 9, 5))


@dataclass
class Live:
    """What the simulation remembers of a request."""

    sequences: list[Sequence]
    order: tuple[int, int]
    started: bool = False


class Simulation:
    """One pool, one scheduler, one stream of requests."""

    def __init__(self, seed: int, num_blocks: int, rows: int, prefix_cache: bool) -> None:
        self.choose = random.Random(seed)
        choose = self.choose
        self.limits = SchedulerLimits(
            token_budget=rows + choose.choice([0, 3, 20, 200]),
            chunk_while_decoding=choose.choice([None, 1, 5, 30]),
            max_rows=rows,
            tile_budget=choose.choice([1, 4, 16]),
            max_waiting=choose.choice([5, 200]),
            max_context=choose.choice([None, 40]),
        )
        self.embeddings = FakeEmbeddings(capacity=choose.choice([0, 2, 10]))
        self.blocks = BlockManager(num_blocks, SIZE, prefix_cache=prefix_cache)
        self.scheduler = Scheduler(self.blocks, self.limits, self.embeddings)
        self.runner = FakeRunner(num_blocks, SIZE, self.embeddings)
        self.live: dict[str, Live] = {}
        self.seen: dict[Sequence, int] = {}  # sequence -> cached at its first row
        self.history: list[Prompt] = []
        self.preambles = [self.parts(choose.randrange(1, 14)) for _ in range(3)]
        self.stop_rate = choose.choice([0.0, 0.02, 0.2])
        self.arrived = self.ended = self.computed = 0

    # -- requests

    def parts(self, length: int) -> Prompt:
        """About `length` random tokens of a tiny vocabulary, with pictures between them."""
        tokens: list[int] = []
        spans = []
        while len(tokens) < length:
            if self.choose.random() < 0.2:
                name, size, tiles = self.choose.choice(IMAGES)
                spans.append(make_image(name, len(tokens), size, tiles))
                tokens += [IMAGE_TOKEN] * size
            else:
                tokens += [self.choose.randrange(3) for _ in range(self.choose.randrange(1, 6))]
        return Prompt(tuple(tokens), tuple(spans))

    def prompt(self) -> Prompt:
        kind, tail = self.choose.random(), self.parts(self.choose.randrange(1, 16))
        if kind < 0.4:
            return join(self.choose.choice(self.preambles), tail)
        if kind < 0.6 and self.history:
            return join(self.choose.choice(self.history[-5:]), tail)
        return tail

    def arrive(self) -> None:
        choose, name = self.choose, f"r{self.arrived}"
        params = SamplingParams(
            max_tokens=choose.choice([1, 2, 8, 20, None]),
            n=choose.choice([1, 1, 1, 2, 5]),
            prompt_logprobs=choose.choice([None, None, None, 0]),
        )
        request = Request(name, self.prompt(), params, priority=choose.choice([0, 0, 0, 1, -1]))
        sequences = [Sequence(request, index) for index in range(params.n)]
        order = (request.priority, self.arrived)
        self.arrived += 1
        not_started = sum(not live.started for live in self.live.values())
        try:
            self.scheduler.add(sequences)
        except QueueFullError:
            assert not_started == self.limits.max_waiting
            self.ended += 1
        except (ContextOverflowError, MemoryBudgetError):
            assert sequences[0].prompt_length >= self.scheduler.max_length
            self.ended += 1
        else:
            assert not_started < self.limits.max_waiting
            self.live[name] = Live(sequences, order)

    def maybe_abort(self) -> None:
        if self.live and self.choose.random() < 0.04:
            name = self.choose.choice(list(self.live))
            alive = [sequence for sequence in self.live[name].sequences if sequence.status != "finished"]
            assert self.scheduler.abort(name) == alive
            self.forget(name)

    def forget(self, name: str) -> None:
        for sequence in self.live.pop(name).sequences:
            assert sequence.status == "finished"
            assert sequence.cached == self.seen.get(sequence, 0), "accounting changed after the first admission"
            if sequence.computed:
                self.history.append(Prompt(tuple(sequence.tokens), sequence.spans))
        self.ended += 1

    # -- steps

    def run(self) -> None:
        while self.arrived < REQUESTS or self.live:
            for _ in range(self.choose.choice([0, 0, 1, 2, 6])):
                if self.arrived < REQUESTS:
                    self.arrive()
            self.maybe_abort()
            before = {sequence for sequence in self.seen if sequence.status == "running"}
            plan = self.scheduler.schedule()
            self.scheduler.check()
            if plan is None:
                assert not self.live, "there is work and nothing is planned"
                continue
            self.check_budgets(plan, before)
            self.check_turns(plan)
            self.maybe_abort()
            self.land(plan)
            self.maybe_abort()
            self.scheduler.check()

    def land(self, plan: StepPlan) -> None:
        if self.choose.random() < 0.02:
            self.scheduler.cancel(plan)
            return
        self.runner.execute(plan)
        self.scheduler.commit(plan)
        self.computed += len(plan)
        for row in plan.rows:
            if row.sample and row.sequence.status != "finished":
                self.sample(row.sequence)

    def sample(self, sequence: Sequence) -> None:
        longest = sequence.params.max_tokens or self.scheduler.max_length
        full = len(sequence.tokens) >= self.scheduler.max_length
        if full or sequence.generated_length + 1 >= longest or self.choose.random() < self.stop_rate:
            self.scheduler.finish(sequence)
            live = self.live[sequence.request.request_id]
            if all(sibling.status == "finished" for sibling in live.sequences):
                self.forget(sequence.request.request_id)
        else:  # mostly what the context decides, so that answers repeat and are found again
            context = self.runner.truth(sequence)[-1]
            token = context[0] % 3 if self.choose.random() < 0.7 else self.choose.randrange(3)
            self.scheduler.append(sequence, token)

    def check_budgets(self, plan: StepPlan, before: set[Sequence]) -> None:
        limits = self.limits
        assert len(plan) <= limits.token_budget
        assert len(plan.rows) <= limits.max_rows
        assert len({row.sequence for row in plan.rows}) == len(plan.rows)
        decodes = [row for row in plan.rows if row.sequence in before and is_decode(row)]
        assert plan.rows[: len(decodes)] == decodes
        if decodes and limits.chunk_while_decoding is not None:
            assert len(plan) - len(decodes) <= limits.chunk_while_decoding
        digests = [span.digest for span in plan.encode]
        assert len(set(digests)) == len(digests)
        assert len(digests) == 1 or sum(span.tiles for span in plan.encode) <= limits.tile_budget

    def check_turns(self, plan: StepPlan) -> None:
        """Accounting at first sight; first come, first served; the oldest always advances."""
        started = []
        for row in plan.rows:
            sequence, start = row.sequence, row.context - row.length
            live = self.live[sequence.request.request_id]
            if sequence not in self.seen:
                assert start == sequence.cached
                self.seen[sequence] = start
                lead_scores = sequence.index == 0 and sequence.params.prompt_logprobs is not None
                assert not (lead_scores and start), "prompt positions were skipped"
            if not live.started:
                live.started = True
                started.append(live.order)
        waiting = [live.order for live in self.live.values() if not live.started]
        assert not started or not waiting or max(started) < min(waiting), "somebody was overtaken"
        running = [
            (*live.order, sequence.index, sequence)
            for live in self.live.values()
            for sequence in live.sequences
            if sequence.status == "running"
        ]
        oldest = min(running)[-1]
        assert any(row.sequence is oldest for row in plan.rows), "the oldest does not advance"

    def check_end(self) -> None:
        self.scheduler.check()
        assert self.ended == self.arrived == REQUESTS
        assert not self.scheduler.has_work
        assert not self.embeddings.pinned
        assert self.blocks.free_blocks == self.blocks.num_blocks
        stats = self.scheduler.stats()
        assert stats.computed_tokens == self.computed
        assert stats.cached_tokens == sum(self.seen.values())
        assert stats.prompt_tokens == sum(sequence.prompt_length for sequence in self.seen)
        assert self.blocks.prefix_cache or not stats.cached_tokens


def is_decode(row: Row) -> bool:
    return row.sample and row.length == 1 and row.context > row.sequence.prompt_length


def join(head: Prompt, tail: Prompt) -> Prompt:
    moved = (replace(span, offset=span.offset + len(head.token_ids)) for span in tail.spans)
    return Prompt(head.token_ids + tail.token_ids, (*head.spans, *moved))


@settings(max_examples=EXAMPLES, derandomize=True, database=None)
@given(
    seed=st.integers(0, 2**32),
    num_blocks=st.sampled_from([6, 12, 30, 200]),
    rows=st.sampled_from([1, 3, 8]),
    prefix_cache=st.sampled_from([True, True, True, False]),
)
def test_every_request_ends_and_computes_exactly_its_own_tokens(seed, num_blocks, rows, prefix_cache):
    simulation = Simulation(seed, num_blocks, rows, prefix_cache)
    simulation.run()
    simulation.check_end()


def test_the_simulation_is_large_and_meets_every_case():
    """Preemptions, hits, cuts and refusals do happen in it; otherwise it would prove little."""
    assert EXAMPLES * REQUESTS >= 10_000
    preemptions = cached = encoded = 0
    for seed in range(6):
        simulation = Simulation(seed, 12, 8, prefix_cache=True)
        simulation.run()
        simulation.check_end()
        preemptions += simulation.scheduler.stats().preemptions
        cached += simulation.scheduler.stats().cached_tokens
        encoded += len(simulation.runner.encoded)
    assert preemptions > 50
    assert cached > 1000
    assert encoded > 80
