"""The scheduler, rule by rule, on plans of a few tokens."""

import random

import pytest
from fake_runner import FakeEmbeddings, FakeRunner, make_prompt, make_sequences

from triptych.engine.errors import (
    ContextOverflowError,
    MemoryBudgetError,
    ParameterError,
    PromptError,
    QueueFullError,
)
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


# -- a step


def test_a_prompt_is_computed_then_decoded():
    bench = Bench()
    (sequence,) = bench.add(tokens(6), max_tokens=3)
    plan = bench.step()
    assert (plan.token_ids, plan.positions) == (tokens(6), tokens(6))
    assert plan.rows[0].sample
    assert sequence.status == "running"
    plan = bench.step()
    assert (plan.token_ids, plan.positions, plan.rows[0].context) == ([7], [6], 7)
    bench.step()
    assert sequence.status == "finished"
    assert not bench.scheduler.has_work
    assert bench.scheduler.schedule() is None


def test_a_slot_is_the_place_in_the_block_of_the_token():
    bench = Bench()
    (sequence,) = bench.add(tokens(6))
    plan = bench.schedule()
    table = sequence.block_table
    assert plan.slots == [table[position // SIZE] * SIZE + position % SIZE for position in range(6)]


def test_nothing_is_planned_for_a_sequence_that_waits_for_its_token():
    bench = Bench()
    (sequence,) = bench.add(tokens(6))
    plan = bench.schedule()
    bench.scheduler.commit(plan)
    assert bench.scheduler.schedule() is None
    bench.scheduler.append(sequence, 5)
    assert bench.schedule().token_ids == [5]


def test_decodes_come_first_then_partial_prompts_then_new_ones():
    bench = Bench(token_budget=20)
    bench.add(tokens(5), request_id="decoding")
    bench.step()
    bench.add(tokens(30, 100), request_id="long")
    assert lengths(bench.step()) == [("decoding", 1), ("long", 19)]
    bench.add(tokens(5, 200), request_id="new")
    assert lengths(bench.step()) == [("decoding", 1), ("long", 11), ("new", 5)]


def test_the_token_budget_cuts_a_prompt_into_chunks():
    bench = Bench(token_budget=8)
    bench.add(tokens(20), request_id="a")
    plans = [bench.step() for _ in range(3)]
    assert [lengths(plan) for plan in plans] == [[("a", 8)], [("a", 8)], [("a", 4)]]
    assert [plan.rows[0].sample for plan in plans] == [False, False, True]


def test_prompts_are_chunked_smaller_while_others_decode():
    bench = Bench(token_budget=64, chunk_while_decoding=6)
    bench.add(tokens(9), request_id="first", max_tokens=3)
    assert lengths(bench.step()) == [("first", 9)]
    bench.add(tokens(30, 50), request_id="second")
    bench.add(tokens(30, 90), request_id="third")
    assert lengths(bench.step()) == [("first", 1), ("second", 6)]
    assert lengths(bench.step()) == [("first", 1), ("second", 6)]
    assert lengths(bench.step()) == [("second", 18), ("third", 30)]


def test_the_row_limit_bounds_who_runs():
    bench = Bench(max_rows=2)
    for index in range(4):
        bench.add(tokens(5, 10 * index), request_id=f"r{index}", max_tokens=2)
    assert [name for name, _ in lengths(bench.step())] == ["r0", "r1"]
    assert [name for name, _ in lengths(bench.step())] == ["r0", "r1"]
    assert [name for name, _ in lengths(bench.step())] == ["r2", "r3"]


def test_one_plan_at_a_time():
    bench = Bench()
    bench.add(tokens(5))
    plan = bench.schedule()
    with pytest.raises(ValueError, match="neither committed nor cancelled"):
        bench.scheduler.schedule()
    bench.scheduler.commit(plan)
    with pytest.raises(ValueError, match="not in flight"):
        bench.scheduler.commit(plan)


def test_a_cancelled_step_counts_for_nothing_and_is_planned_again():
    bench = Bench()
    (sequence,) = bench.add([1, 2], ("cat", 6), [3])
    plan = bench.schedule()
    bench.scheduler.cancel(plan)
    bench.scheduler.check()
    assert (sequence.computed, bench.blocks.cached_blocks) == (0, 0)
    again = bench.step()
    assert again.token_ids == plan.token_ids
    assert [span.digest for span in again.encode] == [span.digest for span in plan.encode]
    bench.scheduler.cancel(again)  # committed already: no effect
    assert sequence.computed == 9


# -- admission


def test_admission_is_by_priority_then_arrival():
    bench = Bench(max_rows=1)
    for name, priority in (("a", 1), ("b", 1), ("c", 0), ("d", 2), ("e", 0)):
        bench.add(tokens(3), request_id=name, priority=priority, max_tokens=1)
    assert [lengths(bench.step())[0][0] for _ in range(5)] == ["c", "e", "a", "b", "d"]


def test_a_long_prompt_is_not_overtaken_by_short_ones():
    bench = Bench(num_blocks=10)
    bench.add(tokens(16), request_id="running", max_tokens=4)
    bench.step()
    bench.add(tokens(28, 100), request_id="long", max_tokens=2)
    for index in range(5):
        bench.add(tokens(3, 200 + index), request_id=f"short{index}", max_tokens=2)
    for _ in range(3):
        assert lengths(bench.step()) == [("running", 1)]
    assert lengths(bench.step())[0] == ("long", 28)


def test_blocks_for_the_prompt_and_one_more_are_reserved():
    bench = Bench(num_blocks=64)
    (sequence,) = bench.add(tokens(9))
    bench.step()
    assert len(sequence.block_table) == 4


def test_no_block_is_reserved_that_the_answer_cannot_reach():
    bench = Bench(num_blocks=64)
    (sequence,) = bench.add(tokens(9), max_tokens=2)
    bench.step()
    assert len(sequence.block_table) == 3


def test_a_watermark_stays_free_for_those_who_run():
    bench = Bench(num_blocks=8)
    bench.add(tokens(11))
    bench.step()
    assert bench.scheduler.stats().blocks_used == 4
    bench.add(tokens(12, 50), request_id="needs four")
    assert "needs four" not in [name for name, _ in lengths(bench.step())]
    assert bench.scheduler.stats().waiting == 1


def test_who_runs_alone_may_take_the_whole_pool():
    bench = Bench(num_blocks=4)
    (sequence,) = bench.add(tokens(15), max_tokens=2)
    bench.drain()
    assert (sequence.preemptions, len(sequence.tokens)) == (0, 16)


def test_a_prompt_that_can_never_fit_the_pool_is_refused():
    bench = Bench(num_blocks=4)
    with pytest.raises(MemoryBudgetError, match=r"16 tokens.* KV cache of 16"):
        bench.add(tokens(16))
    assert not bench.scheduler.has_work


def test_a_prompt_longer_than_the_context_is_refused():
    bench = Bench(max_context=10)
    with pytest.raises(ContextOverflowError, match=r"10 tokens.* context of 10"):
        bench.add(tokens(10))
    bench.add(tokens(9))
    bench.step()


def test_an_empty_prompt_is_refused():
    with pytest.raises(PromptError, match="empty"):
        Bench().add([])


def test_a_sequence_cannot_outgrow_the_pool():
    bench = Bench(num_blocks=2, max_rows=1)
    (sequence,) = bench.add(tokens(7))
    bench.step()
    assert len(sequence.tokens) == bench.scheduler.max_length == 8
    bench.scheduler.commit(bench.schedule())
    with pytest.raises(ContextOverflowError, match="8 tokens and at most 8"):
        bench.scheduler.append(sequence, 1)
    bench.scheduler.finish(sequence)
    bench.scheduler.check()


def test_the_queue_is_bounded_and_says_so():
    bench = Bench(max_waiting=2, max_rows=1)
    bench.add(tokens(3), n=5, max_tokens=1)
    bench.add(tokens(3), max_tokens=1)
    with pytest.raises(QueueFullError, match=r"2 requests are waiting and the limit is 2"):
        bench.add(tokens(3))
    bench.step()  # the first one starts
    bench.add(tokens(3), max_tokens=1)
    bench.drain()


def test_a_request_id_is_unique_while_it_lives():
    bench = Bench()
    bench.add(tokens(3), request_id="same", max_tokens=1)
    with pytest.raises(ParameterError, match="'same' is in use"):
        bench.add(tokens(3), request_id="same")
    bench.drain()
    bench.add(tokens(3), request_id="same", max_tokens=1)
    bench.drain()


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"token_budget": 0}, "token_budget"),
        ({"max_rows": 0}, "max_rows"),
        ({"tile_budget": -1}, "tile_budget"),
        ({"max_waiting": 0}, "max_waiting"),
        ({"chunk_while_decoding": 0}, "chunk_while_decoding"),
        ({"max_context": 0}, "max_context"),
        ({"token_budget": 4, "max_rows": 5}, "token_budget"),
    ],
)
def test_impossible_limits_are_refused_by_name(limits, name):
    with pytest.raises(ParameterError) as caught:
        SchedulerLimits(**limits)
    assert caught.value.name == name


# -- the prefix cache


def test_an_equal_prompt_computes_only_its_tail():
    bench = Bench()
    (first,) = bench.add(tokens(12), max_tokens=1)
    bench.drain()
    (second,) = bench.add(tokens(12), max_tokens=1)
    assert bench.scheduler.cached_prefix(second) == 8
    assert lengths(bench.step()) == [("r2", 4)]
    assert (first.cached, second.cached) == (0, 8)
    stats = bench.scheduler.stats()
    assert (stats.prompt_tokens, stats.cached_tokens, stats.computed_tokens) == (24, 8, 16)


def test_the_next_turn_of_a_chat_finds_the_answer_too():
    bench = Bench()
    (first,) = bench.add(tokens(6), max_tokens=7)
    bench.drain()
    assert len(first.tokens) == 12
    (second,) = bench.add([*first.tokens, 7, 50, 51], max_tokens=1)
    bench.step()
    assert second.cached == 12


def test_preemption_does_not_change_what_counts_as_cached():
    bench = Bench(num_blocks=11)
    (old,) = bench.add(tokens(13), max_tokens=20)
    (young,) = bench.add(tokens(13, 50), max_tokens=20)
    while not young.preemptions:
        bench.step()
    bench.drain()
    assert old.cached == young.cached == 0
    assert bench.scheduler.stats().cached_tokens == 0


def test_prompt_logprobs_compute_the_whole_prompt():
    bench = Bench()
    bench.add(tokens(12), max_tokens=1)
    bench.drain()
    (lead,) = bench.add(tokens(12), max_tokens=1, prompt_logprobs=0)
    assert lengths(bench.step()) == [("r2", 12)]
    assert lead.cached == 0


# -- siblings


def test_siblings_wait_for_the_first_and_share_its_prompt():
    bench = Bench()
    siblings = bench.add(tokens(10), n=3, max_tokens=3)
    assert lengths(bench.step()) == [("r1", 10)]
    assert lengths(bench.step()) == [("r1", 1), ("r1", 2), ("r1", 2)]
    assert [sequence.cached for sequence in siblings] == [0, 8, 8]
    shared = {tuple(sequence.block_table[:2]) for sequence in siblings[1:]}
    assert shared == {tuple(siblings[1].block_table[:2])}
    bench.drain()


def test_siblings_wait_through_all_chunks_of_the_first():
    bench = Bench(token_budget=8)
    bench.add(tokens(20), n=2, max_tokens=2)
    assert [lengths(bench.step()) for _ in range(2)] == [[("r1", 8)], [("r1", 8)]]
    assert len(lengths(bench.step())) == 2  # sixteen tokens are in full blocks: the second starts behind them


def test_others_may_start_while_siblings_wait():
    bench = Bench(token_budget=12)
    bench.add(tokens(20), n=3, request_id="many", max_tokens=2)
    bench.add(tokens(3, 50), request_id="other", max_tokens=2)
    bench.step()
    assert lengths(bench.step()) == [("many", 8), ("other", 3)]


def test_the_next_sibling_leads_when_the_first_ends_early():
    bench = Bench(token_budget=8)
    first, second = bench.add(tokens(20), n=2, max_tokens=2)
    bench.step()
    bench.scheduler.finish(first)
    assert bench.schedule().rows[0].sequence is second


def test_siblings_share_when_the_answer_is_one_token():
    bench = Bench()
    siblings = bench.add(tokens(10), n=6, max_tokens=1)
    bench.step()
    assert len(bench.step().rows) == 5
    assert all(sequence.status == "finished" for sequence in siblings)


def test_siblings_compute_on_their_own_without_prefix_cache():
    bench = Bench(prefix_cache=False)
    bench.add(tokens(10), n=3, max_tokens=2)
    assert lengths(bench.step()) == [("r1", 10)] * 3
    bench.drain()


def test_siblings_of_prompt_logprobs_share_what_the_lead_computed():
    bench = Bench()
    bench.add(tokens(10), max_tokens=1)
    bench.drain()
    bench.add(tokens(10), n=3, max_tokens=2, prompt_logprobs=1)
    assert lengths(bench.step()) == [("r2", 10)]
    assert lengths(bench.step()) == [("r2", 1), ("r2", 2), ("r2", 2)]


# -- images


def test_an_image_is_encoded_once_and_pasted_for_every_row():
    bench = Bench()
    bench.add([1], ("cat", 5), [2], request_id="a")
    bench.add([3], ("cat", 5), [4], request_id="b")
    plan = bench.step()
    assert len(plan.encode) == 1
    assert [(paste.source, paste.destination, paste.length) for paste in plan.pastes] == [(0, 1, 5), (0, 8, 5)]


def test_kept_features_are_not_encoded_again():
    bench = Bench()
    bench.add([1], ("cat", 5), [2], max_tokens=1)
    bench.drain()
    bench.add([9], ("cat", 5), [2], max_tokens=1)
    assert bench.step().encode == []


def test_an_image_behind_a_cached_prefix_is_neither_encoded_nor_pasted():
    bench = Bench(features=0)
    bench.add(("cat", 8), [1, 2], max_tokens=1)
    bench.drain()
    bench.add(("cat", 8), [3, 4], max_tokens=1)
    plan = bench.step()
    assert (plan.encode, plan.pastes, plan.token_ids) == ([], [], [3, 4])


def test_a_chunk_may_end_inside_an_image_and_its_features_stay():
    bench = Bench(token_budget=8, features=0)
    (sequence,) = bench.add([1, 2], ("cat", 14), [3], max_tokens=1)
    plans = [bench.step() for _ in range(2)]
    assert [len(plan.encode) for plan in plans] == [1, 0]
    pasted = [(paste.source, paste.destination, paste.length) for plan in plans for paste in plan.pastes]
    assert pasted == [(0, 2, 6), (6, 0, 8)]
    assert not bench.embeddings.pinned
    bench.step()
    assert sequence.status == "finished"


def test_a_hit_may_end_inside_an_image():
    bench = Bench(features=0)
    bench.add(("cat", 10), [1, 2, 3], max_tokens=1)
    bench.drain()
    bench.add(("cat", 10), [4, 5], max_tokens=1)
    plan = bench.step()
    assert len(plan.encode) == 1
    assert [(paste.source, paste.destination, paste.length) for paste in plan.pastes] == [(8, 0, 2)]


def test_the_tile_budget_cuts_a_row_before_its_next_image():
    bench = Bench(tile_budget=4)
    bench.add([1], ("cat", 3, 3), [2, 2], ("dog", 3, 2), [3], request_id="a", max_tokens=1)
    first, second = bench.step(), bench.step()
    assert lengths(first) == [("a", 6)]
    assert not first.rows[0].sample
    assert lengths(second) == [("a", 4)]
    assert [len(plan.encode) for plan in (first, second)] == [1, 1]


def test_a_row_whose_image_must_wait_leaves_the_step_to_others_that_run():
    bench = Bench(tile_budget=2, token_budget=8)
    bench.add([1, 2, 3, 4], ("cat", 10, 2), [5], request_id="a", max_tokens=1)
    bench.add([6], ("dog", 3, 2), [7], request_id="b", max_tokens=1)
    assert lengths(bench.step()) == [("a", 8)]
    assert lengths(bench.step()) == [("a", 7), ("b", 1)]
    assert lengths(bench.step()) == [("b", 4)]


def test_an_image_larger_than_the_tile_budget_can_be_encoded():
    bench = Bench(tile_budget=1)
    bench.add(("cat", 6, 5), [1], max_tokens=1)
    bench.add(("dog", 6, 5), [1], max_tokens=1)
    assert [len(bench.step().encode) for _ in range(2)] == [1, 1]
    assert not bench.scheduler.has_work


def test_features_are_pinned_until_the_last_who_needs_them():
    bench = Bench(token_budget=8, features=0)
    bench.add(("cat", 12), [1], request_id="a", max_tokens=1)
    bench.step()
    assert len(bench.embeddings.pinned) == 1
    bench.scheduler.abort("a")
    bench.scheduler.check()
    assert not bench.embeddings.pinned
    assert not bench.embeddings.kept


# -- preemption


def test_the_youngest_gives_way_and_comes_back():
    bench = Bench(num_blocks=8)
    (old,) = bench.add(tokens(11), max_tokens=16)
    (young,) = bench.add(tokens(7, 50), max_tokens=10)
    bench.drain()
    assert (old.preemptions, old.generated_length) == (0, 15)
    assert (young.preemptions > 0, young.generated_length) == (True, 9)
    assert bench.scheduler.stats().preemptions == young.preemptions


def test_a_lower_priority_gives_way_before_a_younger_one():
    bench = Bench(num_blocks=10)
    (low,) = bench.add(tokens(7), max_tokens=14, priority=5)
    bench.step()
    (high,) = bench.add(tokens(11, 50), max_tokens=16, priority=1)
    bench.drain()
    assert low.preemptions
    assert not high.preemptions


def test_three_that_cannot_fit_together_all_end():
    bench = Bench(num_blocks=6)
    group = [bench.add(tokens(6, 50 * index), max_tokens=17)[0] for index in range(3)]
    bench.drain(limit=120)
    assert [sequence.generated_length for sequence in group] == [16] * 3
    assert group[0].preemptions == 0


def test_preemption_inside_an_image_encodes_it_again():
    bench = Bench(num_blocks=8, token_budget=8, chunk_while_decoding=2, features=0)
    (old,) = bench.add(tokens(11), max_tokens=12)
    bench.step()
    bench.step()
    (young,) = bench.add(("cat", 11), [1], max_tokens=1)
    bench.drain()
    assert old.generated_length == 11
    assert young.status == "finished"
    assert len(bench.runner.encoded) == 1 + young.preemptions


# -- abort


def test_abort_while_waiting_running_and_in_flight():
    bench = Bench(max_rows=2)
    (decoding,) = bench.add(tokens(5), request_id="decoding")
    bench.step()
    bench.add(tokens(5, 20), request_id="flying")
    bench.add(tokens(5, 40), request_id="waiting")
    plan = bench.schedule()
    used = bench.blocks.used_blocks
    assert bench.scheduler.abort("waiting")
    assert bench.scheduler.abort("flying")
    bench.scheduler.check()
    assert bench.blocks.used_blocks == used, "blocks of a step in flight are not given away"
    bench.land(plan)
    assert bench.blocks.used_blocks == len(decoding.block_table)
    assert bench.scheduler.abort("decoding") == [decoding]
    bench.scheduler.check()
    assert not bench.scheduler.has_work
    assert bench.scheduler.abort("decoding") == bench.scheduler.abort("never heard of") == []


def test_what_an_aborted_step_computed_can_be_found():
    bench = Bench()
    bench.add(tokens(10), request_id="a")
    plan = bench.schedule()
    bench.scheduler.abort("a")
    bench.land(plan)
    (again,) = bench.add(tokens(10), max_tokens=1)
    bench.drain()
    assert again.cached == 8


def test_a_cancelled_step_gives_back_the_blocks_of_those_who_ended():
    bench = Bench()
    bench.add([1], ("broken", 5), [2], request_id="a")
    bench.add(tokens(6), request_id="b", max_tokens=1)
    plan = bench.schedule()
    bench.scheduler.abort("a")
    bench.scheduler.cancel(plan)
    bench.scheduler.check()
    assert not bench.embeddings.pinned
    assert lengths(bench.step()) == [("b", 6)]
    assert not bench.scheduler.has_work


def test_an_id_may_return_while_its_aborted_step_is_in_flight():
    bench = Bench()
    bench.add(tokens(6), request_id="a")
    plan = bench.schedule()
    bench.scheduler.abort("a")
    bench.add(tokens(6, 50), request_id="a", max_tokens=1)
    bench.land(plan)
    bench.drain()


def test_a_finished_sequence_takes_no_tokens():
    bench = Bench()
    (sequence,) = bench.add(tokens(6))
    bench.scheduler.finish(sequence)
    bench.scheduler.finish(sequence)
    with pytest.raises(ValueError, match="takes no more tokens"):
        bench.scheduler.append(sequence, 1)


def test_a_cancellation_storm_leaves_nothing_behind():
    choose = random.Random(1)
    bench = Bench(num_blocks=30, token_budget=16, chunk_while_decoding=8, features=1, max_waiting=500)
    names = [f"s{index}" for index in range(400)]
    for index, name in enumerate(names):
        picture = (f"image{index % 7}", choose.randrange(1, 12), choose.randrange(1, 4))
        bench.add([1, 2, 3], picture, tokens(choose.randrange(1, 20)), request_id=name, n=choose.choice([1, 1, 3]))
    choose.shuffle(names)
    while names:
        plan = bench.schedule()
        for _ in range(choose.randrange(0, 20)):
            if names:
                bench.scheduler.abort(names.pop())
        bench.land(plan)
        for _ in range(choose.randrange(0, 20)):
            if names:
                bench.scheduler.abort(names.pop())
        bench.scheduler.check()
        if not bench.scheduler.has_work:
            break
    assert not bench.scheduler.has_work
    assert not bench.embeddings.pinned
    assert bench.blocks.free_blocks == 30
