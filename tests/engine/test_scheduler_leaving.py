"""The scheduler, rule by rule: who gives way and comes back, and what is aborted."""

import random

import pytest
from planning import Bench, lengths, tokens

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
