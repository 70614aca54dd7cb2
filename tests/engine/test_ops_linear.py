"""Every format of every precision, for odd sizes and all row ranges, against the weights it was made from."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from triptych.engine.ops import dense, int4, int8, table
from triptych.engine.ops.linear import convert, held_precision, linear_from, make_linear
from triptych.engine.ops.packed import Weights, row_blocks

SIZES = [(64, 96), (96, 128), (384, 128), (17, 33), (1, 5), (128, 1024), (1088, 64)]
ROWS = [1, 2, 3, 4, 5, 17, 130]
# Relative error of the result against fp32, with bf16 activations and rounding to bf16 at the end.
ERROR = {"fp32": 1e-6, "fp16": 4e-3, "bf16": 4e-3, "int8": 1.2e-2, "w8a8": 2e-2, "int4": 0.12}
TWINS = {"bf16": dense.plain, "int8": int8.rows, "int4": int4.rows, "w8a8": int8.rows_w8a8}


def weight(N, K, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, K, generator=generator) * 0.1, torch.randn(N, generator=generator)


def inputs(T, K, precision="bf16", seed=1):
    x = torch.randn(T, K, generator=torch.Generator().manual_seed(seed)).bfloat16()
    return x.float() if precision == "fp32" else x


def distance(got, expected):
    return ((got.float() - expected.float()).norm() / expected.float().norm()).item()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("precision", ERROR)
def test_near_the_exact_product(precision, size):
    w, bias = weight(*size)
    linear = make_linear(w, bias, precision=precision)
    assert (linear.out_features, linear.in_features) == size
    for T in ROWS:
        x = inputs(T, size[1], precision)
        got = linear(x)
        assert got.dtype == x.dtype
        assert distance(got, F.linear(x.float(), w, bias)) < ERROR[precision]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("precision", TWINS)
def test_packed_equals_its_slow_twin(precision, size):
    w, bias = weight(*size)
    packed = make_linear(w, bias, precision=precision)
    held = convert(w, precision)
    assert held.format in ("plain", "int8-rows", "int4-rows")
    for T in ROWS:
        # Without exact u8 x s8 products few rows keep their activations, in w8a8 too.
        wide_activations = packed.format == "int8-rows" and T <= int8.MOST_FEW_ROWS
        twin = int8.rows if wide_activations else TWINS[packed.precision]
        # In fp32 the twins differ by the fast one's rounding of activations or sums to bf16 only.
        x = inputs(T, size[1])
        wide, last = (x, bias.bfloat16()) if precision == "bf16" else (x.float(), bias)
        assert distance(packed(x), twin(wide, held, last)) < 6e-3


def test_kernels_exist_for_the_formats_that_work_here():
    for entry in table.TABLE:
        if not entry.needs:
            assert table.kernels(entry.operation, "cpu", entry.format)[-1][0] == table.ANY_ROWS
    with pytest.raises(LookupError, match="no linear kernel for strange weights on cpu"):
        table.kernels("linear", "cpu", "strange")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_few_rows_of_plain_int8_equal_the_slow_twin(size):
    w, bias = weight(*size)
    held = convert(w, "int8")
    for T in (1, 3, int8.MOST_FEW_ROWS):
        x = inputs(T, size[1])
        assert distance(int8.rows_few(x, held, bias), int8.rows(x.float(), held, bias)) < 6e-3


def test_without_a_kernel_the_general_one_serves(monkeypatch):
    assert len(table.kernels("linear", "cpu", "int8-rows")) == 1 + ("int8-few" in table.working())
    monkeypatch.setattr(table, "working", frozenset)
    assert table.kernels("linear", "cpu", "int8-rows") == ((table.ANY_ROWS, int8.rows),)
    linear = make_linear(weight(64, 96)[0], precision="int8")
    assert linear.format == "int8-rows"
    assert make_linear(weight(64, 96)[0], precision="bf16").format == "plain"
    assert make_linear(weight(64, 96)[0], precision="int4").format == "int4-rows"


def test_weight_only_int8_keeps_16_bits_of_the_activations():
    w, _ = weight(64, 512)
    stored = convert(w, "int8")
    exact = stored.tensors["weight"].float() * stored.tensors["scale"][:, None]
    x = inputs(6, 512).float()
    x[2, 7] = 300.0  # a spike must not drown the rest of its token
    assert distance(linear_from(stored, precision="int8")(x), x @ exact.t()) < 2e-4


def test_w8a8_keeps_16_bits_for_tokens_with_spikes():
    w, _ = weight(64, 4096)
    x = inputs(6, 4096)
    x[2, 7] = 300.0
    w[:, 7] = 0  # the spike itself is multiplied by nothing: what is left is what its rounding step drowned
    got, expected = make_linear(w, precision="w8a8")(x), x.float() @ w.t()
    for token in range(6):
        assert distance(got[token], expected[token]) < 2e-2


def test_many_rows_are_multiplied_in_parts():
    w, bias = weight(32, 64)
    x = inputs(2 * int8.LARGEST_ROWS + 3, 64)
    for precision in ("int8", "w8a8"):
        linear = make_linear(w, bias, precision=precision)
        assert torch.equal(linear(x)[-5:], linear(x[-5:]))


def test_leading_dimensions_and_strides_do_not_matter():
    w, bias = weight(64, 96)
    wide = inputs(12, 200)[:, 5:101]
    for precision in ("bf16", "int8", "int4", "w8a8"):
        linear = make_linear(w, bias, precision=precision)
        expected = linear(wide.contiguous())
        assert torch.equal(linear(wide), expected)
        assert torch.equal(linear(wide.contiguous().view(2, 6, 96)), expected.view(2, 6, 64))
        assert linear(wide[:0]).shape == (0, 64)


def test_a_row_does_not_depend_on_its_neighbours():
    w, bias = weight(64, 128)
    x = inputs(9, 128)
    for precision in ("int8", "w8a8"):
        linear = make_linear(w, bias, precision=precision)
        together = linear(x)
        for token in range(9):
            alone = linear(x[token : token + 1])[0]
            if linear.format == "int8-onednn":
                assert torch.equal(alone, together[token])
            else:  # one kernel for a few rows and one for more, which sum in other orders
                assert distance(alone, together[token]) < ERROR[precision]


def test_inputs_are_left_alone():
    w, bias = weight(64, 96)
    for precision in ("fp32", "int8", "int4", "w8a8"):
        x = inputs(5, 96).float()
        before = x.clone()
        make_linear(w, bias, precision=precision)(x)
        assert torch.equal(x, before)


def test_all_zeros():
    for precision in ("bf16", "int8", "int4", "w8a8"):
        linear = make_linear(torch.zeros(64, 96), precision=precision)
        assert not linear(inputs(3, 96)).any()
        assert not make_linear(weight(64, 96)[0], precision=precision)(torch.zeros(3, 96).bfloat16()).any()


def test_int4_falls_back_where_groups_do_not_fit():
    assert held_precision((64, 96), "int4") == "int4"
    assert held_precision((64, 33), "int4") == "int8"
    assert make_linear(weight(17, 33)[0], precision="int4").precision == "int8"


def test_int4_search_is_no_worse_than_the_full_range():
    w, _ = weight(64, 1024)
    w[::3, ::100] *= 6
    stored = int4.quantise(w, 64, "cpu")
    full = int4.SHRINK
    try:
        int4.SHRINK = (1.0,)
        plain = int4.quantise(w, 64, "cpu")
    finally:
        int4.SHRINK = full
    eye = torch.eye(1024)
    errors = [distance(int4.rows(eye, held, None).t(), w) for held in (stored, plain)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(("precision", "bits"), [("fp32", 32), ("bf16", 16), ("int8", 8), ("w8a8", 8), ("int4", 4)])
def test_bytes_are_those_of_one_copy(precision, bits):
    linear = make_linear(torch.randn(256, 1024), precision=precision)
    held = 256 * 1024 * bits // 8
    assert held <= linear.nbytes <= held * 1.15


def test_blocks_cover_the_rows_and_stay_small():
    blocks = list(row_blocks(1000, 1 << 14, 2, multiple=64))
    assert blocks[0][0] == 0
    assert blocks[-1][1] == 1000
    assert all(after[0] == before[1] for before, after in pairwise(blocks))
    assert all((stop - start) << 15 <= 8 << 20 for start, stop in blocks)
    assert all(start % 64 == 0 for start, _ in blocks)


def test_weights_move_and_count():
    held = convert(weight(8, 16)[0], "int8")
    assert isinstance(held.to("cpu"), Weights)
    assert held.nbytes == 8 * 16 + 8 * 4
