"""Sparse experts, norm and rotary embedding against plain formulas."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from triptych.engine.ops.linear import make_linear
from triptych.engine.ops.moe import Experts, moe, route
from triptych.engine.ops.norm import rms_norm
from triptych.engine.ops.rotary import RotaryTable, apply_rotary, rotate


class Block:
    def __init__(self, experts=8, hidden=32, inner=48, dtype=torch.float32):
        generator = torch.Generator().manual_seed(3)
        self.router = torch.randn(experts, hidden, generator=generator).to(dtype)
        self.gate_up = torch.randn(experts, 2 * inner, hidden, generator=generator).to(dtype) * 0.2
        self.down = torch.randn(experts, hidden, inner, generator=generator).to(dtype) * 0.2
        precision = {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
        self.experts = Experts(
            [make_linear(w, precision=precision) for w in self.gate_up],
            [make_linear(w, precision=precision) for w in self.down],
        )

    def slow(self, x, top_k):
        """Every token through every expert; softmax over all, the best kept and renormalised."""
        probabilities = F.linear(x, self.router).float().softmax(dim=-1)
        best, chosen = probabilities.topk(top_k, dim=-1)
        best = best / best.sum(dim=-1, keepdim=True)
        weights = torch.zeros_like(probabilities).scatter(1, chosen, best)
        gate, up = torch.einsum("th,efh->tef", x, self.gate_up).chunk(2, dim=-1)
        outputs = torch.einsum("tef,ehf->teh", F.silu(gate) * up, self.down)
        return (outputs.float() * weights[..., None]).sum(dim=1).to(x.dtype)


def tokens(T, hidden=32, dtype=torch.float32):
    return torch.randn(T, hidden, generator=torch.Generator().manual_seed(4)).to(dtype)


def test_grouped_experts_equal_all_experts():
    block = Block()
    for T in (1, 2, 7, 64):
        for top_k in (1, 2, 8):
            x = tokens(T)
            assert torch.allclose(moe(x, block.router, block.experts, top_k), block.slow(x, top_k), atol=1e-5)


def test_bf16_experts_are_near_fp32():
    block = Block(dtype=torch.bfloat16)
    x = tokens(33, dtype=torch.bfloat16)
    got, expected = moe(x, block.router, block.experts, 2), block.slow(x, 2)
    assert (got.float() - expected.float()).abs().max() < 0.05 * expected.float().abs().max()


def test_only_routed_experts_are_run():
    block = Block()
    used = []
    run = block.experts.run
    block.experts.run = lambda expert, x: used.append(expert) or run(expert, x)
    moe(tokens(1), block.router, block.experts, 2)
    assert sorted(used) == sorted(route(tokens(1), block.router, 2)[1].flatten().tolist())


def test_a_token_does_not_depend_on_its_neighbours():
    block = Block()
    x = tokens(12)
    together = moe(x, block.router, block.experts, 2)
    for token in range(12):
        alone = moe(x[token : token + 1], block.router, block.experts, 2)
        assert torch.allclose(alone[0], together[token], atol=1e-6)


def test_experts_know_their_size():
    block = Block()
    assert len(block.experts) == 8
    assert block.experts.nbytes == block.gate_up.nbytes + block.down.nbytes


def test_rms_norm_is_the_published_one():
    for dtype in (torch.float32, torch.bfloat16):
        x = tokens(9, dtype=dtype) * 3
        weight = tokens(1, dtype=dtype)[0]
        wide = x.float()
        expected = weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).to(dtype)
        assert torch.equal(rms_norm(x, weight, 1e-5), expected)


def test_rotary_is_the_published_one():
    for dtype in (torch.float32, torch.bfloat16):
        generator = torch.Generator().manual_seed(5)
        q, k = (torch.randn(6, heads, 16, generator=generator).to(dtype) for heads in (4, 2))
        positions = torch.tensor([0, 1, 5, 900, 4095, 2])
        cos, sin = RotaryTable(1e4, 16, 4096).at(positions, dtype)
        frequency = 1.0 / (1e4 ** (torch.arange(0, 16, 2, dtype=torch.int64).float() / 16))
        angles = (frequency[None, :, None] @ positions[None, None, :].float()).transpose(1, 2)
        angles = torch.cat((angles, angles), dim=-1)[0]
        assert torch.equal(cos, angles.cos().to(dtype))
        assert torch.equal(sin, angles.sin().to(dtype))
        for x, got in zip((q, k), apply_rotary(q, k, cos, sin), strict=True):
            turned = torch.cat((-x[..., 8:], x[..., :8]), dim=-1)
            assert torch.equal(got, x * cos[:, None] + turned * sin[:, None])


def test_queries_and_keys_may_be_rotated_together():
    x = torch.randn(5, 6, 16, generator=torch.Generator().manual_seed(6))
    cos, sin = RotaryTable(1e6, 16, 64).at(torch.arange(5), torch.float32)
    q, k = apply_rotary(x[:, :4], x[:, 4:], cos, sin)
    assert torch.equal(rotate(x, cos, sin), torch.cat((q, k), dim=1))
