"""A run goes on where it was saved."""

import torch
from torch import nn
from training.state import Optimizer, Run


def test_a_run_resumes_with_its_weights_and_its_clock(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "run.pt"
    network = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    run = Run(path, network, Optimizer(network, 1e-2), minutes=1)
    x = torch.randn(16, 4)
    first = None
    for _ in range(30):
        loss = (network(x) - x.sum(1, keepdim=True)).pow(2).mean()
        first = first or loss.item()
        loss.backward()
        run.advance()
    run.save()
    assert loss.item() < first
    again = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    resumed = Run(path, again, Optimizer(again, 1e-2), minutes=1)
    assert resumed.step == 30
    assert resumed.spent == run.spent
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert not resumed.done
    assert 0 < resumed.share() <= 1
    resumed.spent = 61.0
    assert resumed.done
    assert resumed.share(warmup=1) == 0.01


def test_a_run_that_is_over_begins_another_course_once(tmp_path):
    path, network = tmp_path / "run.pt", torch.nn.Linear(2, 1)
    over = Run(path, network, Optimizer(network, 1e-2), minutes=1e-9)
    over.advance()
    assert over.done
    assert Run(path, network, Optimizer(network, 1e-2), minutes=1).spent == over.spent
    course = Run(path, network, Optimizer(network, 1e-2), minutes=1, again=True)
    assert (course.spent, course.step) == (0, 1)
    course.spent = 7.0
    course.save()
    # Interrupted, it goes on instead of beginning once more.
    assert Run(path, network, Optimizer(network, 1e-2), minutes=1, again=True).spent == 7.0
