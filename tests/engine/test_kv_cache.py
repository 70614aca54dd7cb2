"""The block manager: allocation, sharing, prefix keys, eviction, invariants."""

import random

import pytest
from fake_runner import make_prompt, make_sequences
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.engine.errors import MemoryBudgetError
from triptych.engine.scheduling.kv_cache import BlockManager
from triptych.engine.sequence import Sequence

SIZE = 4


def sequence_of(*parts, **params) -> Sequence:
    return make_sequences("r", make_prompt(*parts), **params)[0]


def compute(blocks: BlockManager, sequence: Sequence) -> Sequence:
    """Admit the sequence and compute all it knows."""
    found = blocks.find_prefix(sequence)
    blocks.share(found)
    missing = blocks.blocks_for(len(sequence.tokens)) - len(found)
    sequence.block_table = found + blocks.allocate(missing, after=found[-1] if found else None)
    before = sequence.computed = len(found) * blocks.block_size
    sequence.computed = len(sequence.tokens)
    blocks.publish(sequence, before)
    return sequence


def release(blocks: BlockManager, sequence: Sequence) -> None:
    blocks.free(sequence.block_table)
    sequence.block_table, sequence.computed = [], 0


def keys_of(sequence: Sequence, blocks: BlockManager | None = None) -> list[bytes]:
    (blocks or BlockManager(4, SIZE)).extend_keys(sequence, len(sequence.tokens))
    return sequence.block_keys


def test_a_prompt_gets_one_run_of_adjacent_blocks():
    blocks = BlockManager(32, SIZE)
    table = blocks.allocate(7)
    assert table == list(range(table[0], table[0] + 7))
    assert blocks.allocate(2, after=table[-1]) == [table[-1] + 1, table[-1] + 2]


def test_sequences_that_grow_in_turns_stay_in_one_run():
    blocks = BlockManager(64, SIZE)
    tables = [blocks.allocate(2) for _ in range(3)]
    for _ in range(5):
        for table in tables:
            table += blocks.allocate(1, after=table[-1])
    for table in tables:
        assert table == list(range(table[0], table[0] + 7))


def test_pieces_are_used_when_no_run_is_long_enough():
    blocks = BlockManager(9, SIZE)
    singles = [blocks.allocate(1) for _ in range(9)]
    for index in (0, 1, 4, 7):
        blocks.free(singles[index])
    taken = blocks.allocate(4)
    assert sorted(taken) == sorted(singles[index][0] for index in (0, 1, 4, 7))
    assert blocks.free_blocks == 0


def test_more_than_is_free_is_refused_and_changes_nothing():
    blocks = BlockManager(4, SIZE)
    blocks.allocate(3)
    with pytest.raises(MemoryBudgetError, match=r"2 KV blocks wanted and 1 of 4 free"):
        blocks.allocate(2)
    assert (blocks.free_blocks, blocks.used_blocks) == (1, 3)


def test_a_pool_without_blocks_is_refused():
    with pytest.raises(MemoryBudgetError, match="more memory"):
        BlockManager(0)


def test_equal_beginnings_share_full_blocks():
    blocks = BlockManager(16, SIZE)
    first = compute(blocks, sequence_of(list(range(10))))
    second = compute(blocks, sequence_of([*range(8), 70, 71]))
    assert second.block_table[:2] == first.block_table[:2]
    assert second.block_table[2] != first.block_table[2]
    blocks.check([first, second])
    assert blocks.used_blocks == 4


def test_a_hit_leaves_a_token_to_compute():
    blocks = BlockManager(16, SIZE)
    release(blocks, compute(blocks, sequence_of(list(range(8)))))
    assert len(blocks.find_prefix(sequence_of(list(range(8))))) == 1
    assert len(blocks.find_prefix(sequence_of(list(range(9))))) == 2
    assert blocks.find_prefix(sequence_of(list(range(4)))) == []


def test_a_match_ends_at_the_first_difference():
    blocks = BlockManager(16, SIZE)
    release(blocks, compute(blocks, sequence_of(list(range(12)))))
    assert len(blocks.find_prefix(sequence_of([0, 1, 2, 3, 9, 5, 6, 7, 8, 9, 10, 11, 12]))) == 1
    assert blocks.find_prefix(sequence_of([9, 1, 2, 3, 4, 5, 6, 7, 8])) == []


def test_without_prefix_cache_nothing_is_kept():
    blocks = BlockManager(16, SIZE, prefix_cache=False)
    release(blocks, compute(blocks, sequence_of(list(range(12)))))
    assert (blocks.cached_blocks, blocks.free_blocks) == (0, 16)
    assert blocks.find_prefix(sequence_of(list(range(13)))) == []


def test_the_tail_is_evicted_before_the_head_and_the_oldest_before_the_newest():
    blocks = BlockManager(6, SIZE)
    old, new = sequence_of(list(range(12))), sequence_of(list(range(50, 62)))
    for sequence in (old, new):
        release(blocks, compute(blocks, sequence))
    assert (blocks.cached_blocks, blocks.free_blocks) == (6, 6)
    blocks.allocate(2)
    assert len(blocks.find_prefix(sequence_of(list(range(13))))) == 1
    assert len(blocks.find_prefix(sequence_of(list(range(50, 63))))) == 3


def test_use_makes_a_prefix_young_again():
    blocks = BlockManager(6, SIZE)
    for start in (0, 50):
        release(blocks, compute(blocks, sequence_of(list(range(start, start + 12)))))
    release(blocks, compute(blocks, sequence_of(list(range(12)))))
    blocks.allocate(3)
    assert len(blocks.find_prefix(sequence_of(list(range(13))))) == 3
    assert blocks.find_prefix(sequence_of(list(range(50, 63)))) == []


def test_eviction_never_touches_blocks_in_use():
    blocks = BlockManager(4, SIZE)
    held = compute(blocks, sequence_of(list(range(8))))
    release(blocks, compute(blocks, sequence_of([*range(8), 8, 9, 10, 11])))
    blocks.allocate(2)
    blocks_in_use = held.block_table
    assert blocks.free_blocks == 0
    assert blocks.find_prefix(sequence_of(list(range(9)))) == blocks_in_use


def test_two_sequences_that_computed_the_same_at_once_keep_their_own_blocks():
    blocks = BlockManager(16, SIZE)
    first, second = sequence_of(list(range(8))), sequence_of(list(range(8)))
    for sequence in (first, second):
        sequence.block_table = blocks.allocate(2)
    for sequence in (first, second):
        sequence.computed = 8
        blocks.publish(sequence, 0)
    blocks.check([first, second])
    assert blocks.find_prefix(sequence_of(list(range(9)))) == first.block_table
    release(blocks, first)
    release(blocks, second)
    blocks.check([])
    assert blocks.cached_blocks == 2


def test_keys_are_long_enough_not_to_collide():
    assert all(len(key) * 8 >= 128 for key in keys_of(sequence_of(list(range(8)))))


def test_a_key_depends_on_all_tokens_before():
    one, two = keys_of(sequence_of([1, 2, 3, 4, 5, 6, 7, 8])), keys_of(sequence_of([9, 2, 3, 4, 5, 6, 7, 8]))
    assert one[1] != two[1]
    assert len(set(keys_of(sequence_of([1] * 16)))) == 4


def test_a_key_depends_on_model_and_precision():
    prompt = list(range(8))
    by_root = {root: keys_of(sequence_of(prompt), BlockManager(4, SIZE, root))[0] for root in (b"", b"a", b"b")}
    assert len(set(by_root.values())) == 3


def test_two_images_never_share_a_block_though_their_tokens_are_equal():
    cat, dog = sequence_of([1, 2], ("cat", 9), [3]), sequence_of([1, 2], ("dog", 9), [3])
    assert cat.tokens == dog.tokens
    assert not set(keys_of(cat)) & set(keys_of(dog))
    blocks = BlockManager(16, SIZE)
    release(blocks, compute(blocks, cat))
    assert blocks.find_prefix(dog) == []


def test_the_same_image_shares_its_blocks_in_another_request():
    blocks = BlockManager(16, SIZE)
    release(blocks, compute(blocks, sequence_of([1, 2], ("cat", 9), [3])))
    assert len(blocks.find_prefix(sequence_of([1, 2], ("cat", 9), [4, 5, 6]))) == 2


def test_an_image_after_equal_text_shares_only_the_text():
    blocks = BlockManager(16, SIZE)
    release(blocks, compute(blocks, sequence_of([1, 2, 3, 4, 5], ("cat", 9))))
    assert len(blocks.find_prefix(sequence_of([1, 2, 3, 4, 5], ("dog", 9)))) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([("cat", 4), ("dog", 4)], [("dog", 4), ("cat", 4)]),
        ([("cat", 3), ("dog", 5)], [("cat", 5), ("dog", 3)]),
        ([("cat", 8)], [("cat", 4), ("cat", 4)]),
        ([("cat", 8)], [[999] * 8]),
        ([[999], ("cat", 7)], [("cat", 7), [999]]),
    ],
)
def test_the_slice_of_the_image_behind_each_token_matters(one, other):
    first, second = sequence_of(*one), sequence_of(*other)
    assert first.tokens == second.tokens
    assert keys_of(first)[1] != keys_of(second)[1]


def test_keys_are_extended_and_never_computed_again():
    blocks, sequence = BlockManager(4, SIZE), sequence_of(list(range(8)))
    blocks.extend_keys(sequence, 4)
    marker = sequence.block_keys[0] = b"known already"
    blocks.extend_keys(sequence, 8)
    assert sequence.block_keys[0] is marker
    assert len(sequence.block_keys) == 2


def test_check_finds_damage():
    blocks = BlockManager(4, SIZE)
    sequence = compute(blocks, sequence_of(list(range(6))))
    blocks.check([sequence])
    with pytest.raises(AssertionError, match="user counts"):
        blocks.check([])
    tail = sequence.block_table[1]
    sequence.block_table[1] = sequence.block_table[0]
    with pytest.raises(AssertionError, match="published but not full"):
        blocks.check([sequence])
    sequence.block_table[1] = tail
    sequence.computed = 3
    with pytest.raises(AssertionError, match="published but not full"):
        blocks.check([sequence])


@settings(max_examples=60, derandomize=True, database=None)
@given(seed=st.integers(0, 2**32), num_blocks=st.sampled_from([3, 8, 40, 300]))
def test_any_order_of_use_keeps_the_books(seed, num_blocks):
    choose = random.Random(seed)
    blocks, held = BlockManager(num_blocks, SIZE), []
    for _ in range(60):
        tokens = [choose.randrange(2) for _ in range(choose.randrange(1, 30))]
        sequence = sequence_of(tokens)
        reused = len(blocks.find_prefix(sequence))
        if blocks.blocks_for(len(tokens)) - reused <= blocks.free_blocks - reused and choose.random() < 0.7:
            held.append(compute(blocks, sequence))
        elif held:
            release(blocks, held.pop(choose.randrange(len(held))))
        blocks.check(held)
    for sequence in held:
        release(blocks, sequence)
    blocks.check([])
    assert blocks.free_blocks == num_blocks
