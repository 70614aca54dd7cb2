"""The scheduler, rule by rule: who gets in, in which order, and who is refused."""

import pytest
from planning import Bench, lengths, tokens

from triptych.engine.errors import ContextOverflowError, MemoryBudgetError, ParameterError, PromptError, QueueFullError
from triptych.engine.scheduling.scheduler import SchedulerLimits


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
