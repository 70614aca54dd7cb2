"""Every way attention is computed, against the one written by the formula."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from triptych.engine.ops.attention import AttentionPlan, KVCache, attention, attention_slow
from triptych.engine.plan import Row, StepPlan

BLOCK = 16


class Step:
    """Rows over a cache with history, given as (length, context, block table)."""

    def __init__(self, rows, heads=4, kv_heads=2, head_dim=8, dtype=torch.float32, blocks=64, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.cache = KVCache(1, blocks * BLOCK, kv_heads, head_dim, dtype)
        for tensor in (self.cache.keys[0], self.cache.values[0]):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        plan, start = StepPlan(), 0
        for length, context, table in rows:
            assert len(table) * BLOCK >= context
            plan.rows.append(Row(SimpleNamespace(block_table=list(table)), start, length, context, True))
            for position in range(context - length, context):
                plan.slots.append(table[position // BLOCK] * BLOCK + position % BLOCK)
            start += length
        self.plan = AttentionPlan.build(plan, "cpu", BLOCK)
        shapes = ((start, heads, head_dim), (start, kv_heads, head_dim), (start, kv_heads, head_dim))
        self.q, self.k, self.v = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)

    def run(self, function, **options):
        cache = (self.cache.keys[0].clone(), self.cache.values[0].clone())
        return function(self.q, self.k, self.v, *cache, self.plan, **options), cache


def assert_agree(step, tolerance=2e-6, **options):
    fast, fast_cache = step.run(attention, **options)
    slow, slow_cache = step.run(attention_slow, **options)
    assert torch.allclose(fast.float(), slow.float(), atol=tolerance, rtol=tolerance)
    assert torch.equal(fast_cache[0], slow_cache[0])
    assert torch.equal(fast_cache[1], slow_cache[1])


ROWS = {
    "one fresh row": [(37, 37, [3, 4, 5])],
    "equal fresh rows": [(20, 20, [1, 2]), (20, 20, [7, 3]), (20, 20, [9, 4])],
    "unequal fresh rows": [(20, 20, [1, 2]), (5, 5, [3]), (5, 5, [8]), (33, 33, [10, 12, 14])],
    "one decode row": [(1, 40, [5, 6, 7])],
    "one decode row, scattered": [(1, 40, [9, 2, 30])],
    "first token": [(1, 1, [4])],
    "decode rows": [(1, context, list(range(4 * n, 4 * n + 4))) for n, context in enumerate((1, 16, 17, 60, 33))],
    "short chunk after a prefix": [(7, 40, [9, 2, 30])],
    "long chunk after a prefix": [(30, 70, [1, 2, 3, 4, 5])],
    "everything at once": [
        (20, 20, [1, 2]),
        (1, 50, [20, 21, 22, 23]),
        (30, 70, [30, 32, 34, 36, 38]),
        (1, 3, [40]),
        (1, 64, [41, 43, 42, 44]),
        (12, 12, [50]),
        (12, 12, [51]),
        (2, 34, [55, 56, 57]),
    ],
}


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (6, 1)], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
def test_ways_agree(rows, heads):
    assert_agree(Step(rows, *heads))


def test_long_decode_rows_read_in_place():
    step = Step([(1, 300, list(range(19))), (1, 290, list(range(20, 39))), (1, 20, [40, 41])])
    assert len(step.plan.decode) == 2
    assert len(step.plan.groups) == 1
    assert_agree(step)


def test_gathered_rows_are_padded_to_at_most_twice_their_blocks():
    step = Step([(1, 16, [0]), (1, 30, [1, 2]), (1, 45, [3, 4, 5]), (1, 200, list(range(10, 23)))])
    assert sorted(tuple(group.mask.shape[::3]) for group in step.plan.groups) == [(1, 16), (1, 208), (2, 48)]


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
def test_bf16_is_near_fp32(rows):
    assert_agree(Step(rows, dtype=torch.bfloat16), tolerance=2e-2)


@pytest.mark.parametrize("window", [1, 8, 33])
def test_window_hides_older_tokens(window):
    step = Step(ROWS["everything at once"])
    windowed, _ = step.run(attention, window=window)
    for start, length, context in step.plan.rows:
        for token in range(length):
            visible = len(context.slots) - length + token + 1
            slots = context.slots[max(0, visible - window) : visible]
            _, (keys, values) = step.run(attention_slow)
            query = step.q[start + token][:, None]
            keys, values = (x[slots].repeat_interleave(2, dim=1).transpose(0, 1) for x in (keys, values))
            expected = F.scaled_dot_product_attention(query, keys, values)[:, 0]
            assert torch.allclose(windowed[start + token], expected, atol=1e-5)


def test_window_longer_than_every_context_changes_nothing():
    step = Step(ROWS["everything at once"])
    assert torch.equal(step.run(attention, window=70)[0], step.run(attention)[0])


def test_fresh_prompt_is_bit_identical_to_scaled_dot_product_attention():
    step = Step([(50, 50, [1, 2, 3, 4])], heads=8, kv_heads=2, head_dim=16, dtype=torch.bfloat16)
    keys, values = (x.repeat_interleave(4, dim=1).transpose(0, 1)[None] for x in (step.k, step.v))
    expected = F.scaled_dot_product_attention(step.q.transpose(0, 1)[None], keys, values, is_causal=True)
    assert torch.equal(step.run(attention)[0], expected[0].transpose(0, 1))


def test_unused_slots_do_not_reach_a_result():
    rows = ROWS["everything at once"]
    step, spoiled = Step(rows), Step(rows)
    used = torch.cat([context.slots for _, _, context in step.plan.rows])
    unused = torch.ones(step.cache.slots, dtype=torch.bool)
    unused[used] = False
    for tensor in (spoiled.cache.keys[0], spoiled.cache.values[0]):
        tensor[unused] = 1e4
    assert torch.equal(step.run(attention)[0], spoiled.run(attention)[0])


def test_cache_starts_with_zeros_and_knows_its_size():
    cache = KVCache(3, 32, 2, 8, torch.bfloat16)
    assert cache.nbytes == 2 * 3 * 32 * 2 * 8 * 2
    assert not any(tensor.any() for tensor in (*cache.keys, *cache.values))
