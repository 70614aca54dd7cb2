"""A scheduler to put plans of a few tokens to, with a fake runner; its books are checked at every turn."""

from fake_runner import FakeEmbeddings, FakeRunner, make_prompt, make_sequences

from triptych.engine.plan import StepPlan
from triptych.engine.scheduling.kv_cache import BlockManager
from triptych.engine.scheduling.scheduler import Scheduler, SchedulerLimits
from triptych.engine.sequence import Sequence

SIZE = 4


class Bench:
    """A scheduler with a fake runner; checks all books at every turn."""

    def __init__(self, num_blocks=64, *, prefix_cache=True, features=8, **limits):
        defaults = {"token_budget": 64, "max_rows": 8, "tile_budget": 4, "max_waiting": 100}
        self.embeddings = FakeEmbeddings(features)
        self.blocks = BlockManager(num_blocks, SIZE, prefix_cache=prefix_cache)
        self.scheduler = Scheduler(self.blocks, SchedulerLimits(**{**defaults, **limits}), self.embeddings)
        self.runner = FakeRunner(num_blocks, SIZE, self.embeddings)
        self.next_id = 0

    def add(self, *parts, priority=0, request_id=None, **params) -> list[Sequence]:
        self.next_id += 1
        sequences = make_sequences(request_id or f"r{self.next_id}", make_prompt(*parts), priority, **params)
        self.scheduler.add(sequences)
        return sequences

    def schedule(self) -> StepPlan:
        plan = self.scheduler.schedule()
        self.scheduler.check()
        assert plan is not None
        return plan

    def land(self, plan: StepPlan, token=7) -> None:
        """Execute and commit; each sampled row goes on with `token`, or ends at its max_tokens."""
        self.runner.execute(plan)
        self.scheduler.commit(plan)
        for row in plan.rows:
            if row.sample and row.sequence.status != "finished":
                if row.sequence.generated_length + 1 >= row.sequence.params.max_tokens:
                    self.scheduler.finish(row.sequence)
                else:
                    self.scheduler.append(row.sequence, token)
        self.scheduler.check()

    def step(self) -> StepPlan:
        plan = self.schedule()
        self.land(plan)
        return plan

    def drain(self, limit=1000) -> None:
        while self.scheduler.has_work:
            self.step()
            limit -= 1
            assert limit, "no end in sight"


def lengths(plan: StepPlan) -> list[tuple[str, int]]:
    return [(row.sequence.request.request_id, row.length) for row in plan.rows]


def tokens(count: int, start: int = 0) -> list[int]:
    return list(range(start, start + count))
