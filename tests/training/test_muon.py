"""Muon's steps are orthogonal, and workers add their gradients as one would."""

import pytest
import torch
from torch import nn
from training.muon import Muon, orthogonal
from training.state import Workers


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 24, 8), (2, 8, 24)])
def test_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_a_step_is_torchs_step_within_bf16():
    torch.manual_seed(0)
    theirs, ours = (nn.Linear(12, 20, bias=False) for _ in range(2))
    ours.load_state_dict(theirs.state_dict())
    reference = torch.optim.Muon(theirs.parameters(), lr=0.1, weight_decay=0.02, adjust_lr_fn="match_rms_adamw")
    mine = Muon([{"params": list(ours.parameters())}], lr=0.1, weight_decay=0.02)
    for _ in range(3):
        theirs.weight.grad = torch.randn(20, 12)
        ours.weight.grad = theirs.weight.grad.clone()
        reference.step()
        mine.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=0.02)


def test_a_weight_without_gradient_rests():
    layer = nn.Linear(4, 4, bias=False)
    before = layer.weight.clone()
    Muon([{"params": list(layer.parameters())}], lr=0.1).step()
    assert torch.equal(layer.weight, before)


def test_workers_leave_the_mean_of_their_gradients():
    torch.manual_seed(0)
    network = nn.ModuleList([nn.Linear(4, 1), nn.Linear(4, 1), nn.Linear(4, 1)])
    x = torch.randn(5, 4)
    done = Workers(2).learn(
        network, [lambda: (network[0](x).sum(), "a"), lambda: ((network[0](x) + network[1](x)).pow(2).sum(), "b")]
    )
    assert [more for _, more in done] == ["a", "b"]
    gradients = [weight.grad for weight in network.parameters()]
    network.zero_grad()
    (0.5 * (network[0](x).sum() + (network[0](x) + network[1](x)).pow(2).sum())).backward()
    for got, weight in zip(gradients, network.parameters(), strict=True):
        assert (got is None and weight.grad is None) or torch.allclose(got, weight.grad, atol=1e-5)
