"""The scheduler, rule by rule: cached prefixes, and siblings that share a prompt."""

from planning import Bench, lengths, tokens

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
