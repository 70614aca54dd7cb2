"""The scheduler, rule by rule: what one step computes."""

import pytest
from planning import SIZE, Bench, lengths, tokens


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
