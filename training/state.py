"""What every training run shares: a time budget with a learning rate that ends at zero, and state that survives a
crash.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.muon import Muon

WORK = Path(__file__).parent / "work"


# Muon's steps keep their size under control and may be longer than AdamW's.
_BOOST = 2.5
_TABLES = ("embed", "position", "patch", "lm_head", "class_embedding", "moe.gate")


class Workers:
    """A few threads, each computing with one core: better for small matrices than sharing every product."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(1)
        self.count = threads
        self._pool = ThreadPoolExecutor(threads)
        self.spread = self._pool.map

    def learn(self, network: nn.Module, lessons: Sequence[Callable[[], tuple[Tensor, Any]]]) -> list[tuple[float, Any]]:
        """Run lessons side by side and leave the mean of their gradients; each gives its loss and something more."""
        weights = [weight for weight in network.parameters() if weight.requires_grad]

        def one(lesson: Callable[[], tuple[Tensor, Any]]) -> tuple[float, Any, tuple[Tensor | None, ...]]:
            loss, more = lesson()
            return loss.item(), more, torch.autograd.grad(loss, weights, allow_unused=True)

        done = list(self.spread(one, lessons))
        for weight, *parts in zip(weights, *(grads for _, _, grads in done), strict=True):
            known = [part for part in parts if part is not None]
            if known:
                weight.grad = torch.stack(known).sum(0) / len(lessons)
        return [(loss, more) for loss, more, _ in done]


class Optimizer:
    """Muon for the matrices inside the network, AdamW for tables, heads, norms and biases.

    `peak` is the highest learning rate; weights whose name contains `slow` learn at `slowness` times that.
    """

    def __init__(
        self,
        network: nn.Module,
        peak: float,
        slow: str = "no such name",
        slowness: float = 1.0,
        workers: Workers | None = None,
    ) -> None:
        groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for name, weight in network.named_parameters():
            if weight.requires_grad:
                inner = weight.dim() == 2 and not any(part in name for part in _TABLES)
                groups.setdefault((inner, slowness if slow in name else 1.0), []).append(weight)
        self.peak = peak
        self.weights = [weight for group in groups.values() for weight in group]
        matrices = [{"params": group, "scale": scale} for (inner, scale), group in groups.items() if inner]
        others = [{"params": group, "scale": scale} for (inner, scale), group in groups.items() if not inner]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.98), weight_decay=0.01),
            Muon(matrices, lr=peak, weight_decay=0.02, spread=workers.spread if workers else map),
        ]

    def step(self, share: float, clip: float = 1.0) -> None:
        """Apply the gradients at `share` of the peak rate, then clear them."""
        torch.nn.utils.clip_grad_norm_(self.weights, clip, foreach=True)
        for part in self.parts:
            boost = _BOOST if isinstance(part, Muon) else 1.0
            for group in part.param_groups:
                group["lr"] = self.peak * boost * share * group.get("scale", 1.0)
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


class Run:
    """A resumable run of `minutes` of processor time, so that a busy machine makes it longer but not worse.

    Saves itself every `every` seconds; a restart goes on where the last save was. `again` lets a run that is over
    begin another course of `minutes`, with the weights that it ended with.
    """

    def __init__(
        self,
        path: Path,
        network: nn.Module,
        optimizer: Optimizer,
        minutes: float,
        again: bool = False,
        every: float = 150.0,
    ) -> None:
        self.path, self.network, self.optimizer = path, network, optimizer
        self.seconds, self.every = minutes * 60, every
        self.step, self.spent, self.begun = 0, 0.0, 0
        self._last, self._saved = time.process_time(), time.monotonic()
        if path.exists():
            saved = torch.load(path, weights_only=True)
            network.load_state_dict(saved["network"])
            optimizer.load_state_dict(saved["optimizer"])
            self.step, self.spent, self.begun = saved["step"], saved["spent"], saved["step"]
            if again and self.spent >= saved.get("seconds", 0.0):
                self.spent = 0.0
            print(f"resumed {path.name} at step {self.step}, {self.spent / 60:.1f} min", flush=True)

    @property
    def done(self) -> bool:
        return self.spent >= self.seconds

    def share(self, warmup: int = 60) -> float:
        """The present fraction of the peak learning rate: a short warm-up after every start, flat, and from 40 %
        down to zero.
        """
        progress = min(1.0, self.spent / self.seconds)
        fall = 1.0 if progress < 0.4 else 0.5 * (1 + math.cos(math.pi * (progress - 0.4) / 0.6))
        return max(0.01, fall) * min(1.0, (self.step - self.begun + 1) / warmup)

    def advance(self) -> None:
        """Take one optimizer step with the gradients at hand, count the time, save when due."""
        self.optimizer.step(self.share())
        self.step += 1
        now, used = time.monotonic(), time.process_time()
        self.spent += used - self._last
        self._last = used
        if now - self._saved > self.every or self.done:
            self.save()
            self._saved = now

    def save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "spent": self.spent,
            "seconds": self.seconds,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, self.path.with_suffix(".new"))
        os.replace(self.path.with_suffix(".new"), self.path)
