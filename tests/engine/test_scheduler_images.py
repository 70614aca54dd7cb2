"""The scheduler, rule by rule: pictures inside prompts."""

from planning import Bench, lengths


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
