"""Teach the vision tower what each patch shows: python -m training.vision --minutes 40.

Throw-away linear heads read shape, colour, size, digits, places and order off the features of every patch. Thousands of
exact answers per picture teach far faster than a caption does; the heads are dropped afterwards.
"""

from __future__ import annotations

import argparse
import math
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.export import read_llava
from training.network import VisionLayer, VisionModel
from training.render import Picture, make_picture, read_shard
from training.shapes import GRID, MEAN, PATCH, STD, VISION
from training.state import WORK, Optimizer, Run, Workers
from training.targets import BARE, CLASSES, IGNORE

_WEIGHTS = {
    "shape": 1.0,
    "color": 0.5,
    "size": 0.5,
    "left": 1.5,
    "right": 1.5,
    "left slot": 0.4,
    "right slot": 0.4,
    "rank": 0.5,
    "total": 0.25,
    "relation": 0.4,
}

# Patches looked at in the first part of the lessons.
KEPT = 56
# Steps in which new heads learn to read a tower that knows something already.
_HEADS_FIRST = 100


class Teacher(nn.Module):
    """The tower with its heads."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = VisionModel(VISION)
        self.norm = nn.LayerNorm(VISION.hidden)
        self.embed_heads = nn.Linear(VISION.hidden, sum(CLASSES.values()))
        self.embed_places = nn.Linear(VISION.hidden, 4)
        _start_local(self.tower)

    def losses(self, features: Tensor, classes: Tensor, places: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Features [B, P, H], classes uint8 [B, P, 10], places [B, P, 4] -> the loss, and the share right per head."""
        features = self.norm(features.flatten(0, 1))
        classes, places = classes.flatten(0, 1).long(), places.flatten(0, 1)
        total = features.new_zeros(())
        right = {}
        parts = self.embed_heads(features).split(list(CLASSES.values()), dim=1)
        for name, logits, wanted in zip(CLASSES, parts, classes.unbind(1), strict=True):
            asked = wanted != IGNORE
            shown = asked & (wanted != BARE.get(name, -1))
            if not shown.any():
                continue
            # Most patches are bare paper: they count for less, so that the rest is heard.
            weight = torch.where(shown, 1.0, 0.15) * asked
            each = F.cross_entropy(logits, wanted, reduction="none", ignore_index=IGNORE)
            total = total + _WEIGHTS[name] * (each * weight).sum() / weight.sum()
            right[name] = (logits.detach().argmax(1) == wanted)[shown].float().mean().item()
        where = ~places.isnan().any(1)
        if where.any():
            guess = self.embed_places(features[where])
            total = total + 4.0 * F.smooth_l1_loss(guess, places[where].float(), beta=0.05)
        return total, right


def _start_local(tower: VisionModel) -> None:
    """Start attention looking at the neighbourhood: keys equal queries, so that like positions find each other."""
    for layer in tower.encoder["layers"]:
        assert isinstance(layer, VisionLayer)
        attention = layer.self_attn
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            nn.init.orthogonal_(attention[name].weight, gain=1.0)
            nn.init.zeros_(attention[name].bias)
        with torch.no_grad():
            attention["k_proj"].weight.copy_(attention["q_proj"].weight)
            attention["out_proj"].weight.mul_(0.4)
        for part in ("fc1", "fc2"):
            nn.init.normal_(
                layer.mlp[part].weight,
                std=1 / math.sqrt(layer.mlp[part].weight.shape[1]) * (1.0 if part == "fc1" else 0.4),
            )


def start_whitened(tower: VisionModel, pixels: Tensor) -> None:
    """Start the patch embedding as the main components of real patches, evened out, instead of as noise. `pixels`
    [B, 3, S, S].
    """
    rows = F.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2).reshape(-1, 3 * PATCH * PATCH)
    rows = rows[(rows.std(1) > 0.02) | (torch.rand(len(rows)) < 0.1)]
    mean = rows.mean(0)
    spread, directions = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    count = VISION.hidden
    filters = (directions[:, -count:] / (spread[-count:] + 0.05).sqrt()).T * 0.8
    with torch.no_grad():
        # Mix the components, so that no head of the attention is left with the faint ones alone.
        filters = torch.linalg.qr(torch.randn(count, count)).Q @ filters
        tower.patch.weight.copy_(filters.reshape_as(tower.patch.weight))
        tower.position[1:] -= filters @ mean


class Pool:
    """Pictures at hand: a few shards in memory, one swapped for a newer one every `turn` draws."""

    def __init__(self, folder: Path, hold: int = 5, turn: int = 400) -> None:
        self.folder, self.hold, self.turn = folder, hold, turn
        self.shards: dict[Path, list[Picture]] = {}
        self.drawn = 0
        self._lock = threading.Lock()

    def pictures(self, count: int) -> list[Picture]:
        """Draw `count` pictures at random."""
        with self._lock:
            if self.drawn % self.turn < count or len(self.shards) < 2:
                self._refresh()
            self.drawn += count
            return [random.choice(random.choice(list(self.shards.values()))) for _ in range(count)]

    def _refresh(self) -> None:
        while not (paths := sorted(self.folder.glob("*.pkl"), key=lambda path: path.stat().st_mtime)):
            time.sleep(2)
        fresh = [path for path in paths if path not in self.shards]
        if not fresh:
            return
        if len(self.shards) >= self.hold:
            del self.shards[min(self.shards, key=lambda path: path.name)]
        try:
            self.shards[fresh[-1]] = read_shard(fresh[-1])
        except FileNotFoundError:
            return


def normalise(pixels: np.ndarray) -> Tensor:
    """Tiles uint8 [B, S, S, 3] -> float32 [B, 3, S, S] as the processors give them."""
    values = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def tile_batch(pool: Pool, crowds: Pool, tiles: int, crowded: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw `tiles` views, `crowded` of them crowds; of a real picture those views that it is read from."""
    chosen = [(picture, 0) for picture in crowds.pictures(crowded)] if crowded else []
    while len(chosen) < tiles:
        for picture in pool.pictures(8):
            chosen += [(picture, index) for index in _worth_teaching(picture)]
    chosen = chosen[:tiles]
    return (
        normalise(np.stack([picture.pixels[index] for picture, index in chosen])),
        torch.from_numpy(np.stack([picture.classes[index] for picture, index in chosen])),
        torch.from_numpy(np.stack([picture.places[index] for picture, index in chosen])),
    )


def _worth_teaching(picture: Picture) -> list[int]:
    """Views of a picture: small digits are read off the tiles, everything else off the padded view and the base."""
    shows = ~np.isnan(picture.places[..., 0]).all(1)
    small = picture.scene is not None and picture.scene.numeral is not None and picture.scene.numeral.size == "small"
    whole, tile = (0.4, 0.9) if small else (0.85, 0.12)
    return [
        index
        for index in range(len(picture.pixels))
        if random.random() < (whole if index < 2 else tile if shows[index] else 0.05)
    ]


def worth_seeing(places: Tensor, count: int) -> Tensor:
    """The numbers of `count` patches of each tile, those that show something first. `places` [B, P, 4] -> [B,
    count].
    """
    shows = ~places.isnan().any(-1)
    return (shows + torch.rand(shows.shape)).topk(count, dim=1).indices


@torch.no_grad()
def evaluate(teacher: Teacher, pictures: list[Picture]) -> dict[str, float]:
    """Share right per head over the given pictures, padded views (1.5) and tiles (1.6) apart."""
    scores: dict[str, list[float]] = {}
    for picture in pictures:
        for kind, part in (("pad", slice(0, 1)), ("tiles", slice(2, None))):
            features = teacher.tower(normalise(picture.pixels[part]))
            _, right = teacher.losses(
                features, torch.from_numpy(picture.classes[part]), torch.from_numpy(picture.places[part])
            )
            size = picture.scene.numeral.size if picture.scene and picture.scene.numeral else "things"
            for name, value in right.items():
                scores.setdefault(f"{kind} {size} {name}", []).append(value)
    return {name: round(float(np.mean(values)), 3) for name, values in sorted(scores.items())}


def start(teacher: Teacher, pool: Pool, crowds: Pool, sources: Sequence[Path]) -> None:
    """Begin with the tower of a checkpoint (the mean of several that began as one), or with whitened patches."""
    if not sources:
        start_whitened(teacher.tower, tile_batch(pool, crowds, 512, 256)[0])
        return
    prefix = "vision_tower.vision_model."
    states = [read_llava(source) for source in sources]
    shared = [name for name in states[0] if prefix in name]
    mean = {name.removeprefix(prefix): sum(state[name] for state in states) / len(states) for name in shared}
    teacher.tower.load_state_dict(mean)


def train(minutes: float, work: Path, tiles: int, peak: float, workers: Workers, sources: Sequence[Path]) -> Teacher:
    """Train from the start or go on from the saved state."""
    torch.manual_seed(0)
    teacher = Teacher()
    run = Run(work / "vision.pt", teacher, Optimizer(teacher, peak, workers=workers), minutes)
    random.seed(run.step)
    pool, crowds = Pool(work / "shards"), Pool(work / "crowd")
    if run.step == 0:
        start(teacher, pool, crowds, sources)
    rng = np.random.default_rng(5)
    check = [make_picture(rng, None) for _ in range(150)]
    shown: dict[str, float] = {}
    while not run.done:
        progress = run.spent / run.seconds
        resting = bool(sources) and run.step < _HEADS_FIRST

        def lesson(progress: float = progress, resting: bool = resting) -> tuple[Tensor, dict[str, float]]:
            # Crowds first, the real thing later.
            crowded = 0.7 if progress < 0.6 else 0.3
            pixels, classes, places = tile_batch(pool, crowds, tiles, int(crowded * tiles))
            # In the first part only patches that show something, and few others, are looked at: twice the tiles
            # in the time.
            keep = worth_seeing(places, KEPT if progress < 0.75 else GRID * GRID)
            rows = torch.arange(len(pixels))[:, None]
            with torch.set_grad_enabled(not resting):
                features = teacher.tower(pixels, keep)
            return teacher.losses(features, classes[rows, keep], places[rows, keep])

        done = workers.learn(teacher, [lesson] * workers.count)
        run.advance()
        _report(run, done, shown)
        if run.step % 500 == 0:
            print(f"  check {evaluate(teacher, check)}", flush=True)
    return teacher


def _report(run: Run, done: list[tuple[float, Any]], shown: dict[str, float]) -> None:
    for _, right in done:
        shown |= {name: 0.97 * shown.get(name, value) + 0.03 * value for name, value in right.items()}
    if run.step % 25 == 0:
        line = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
        print(f"step {run.step} {run.spent / 60:.1f} min loss {done[0][0]:.3f} {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120, help="of processor time, over all workers")
    parser.add_argument("--tiles", type=int, default=32, help="tiles in a step, for each worker")
    parser.add_argument("--peak", type=float, default=2e-3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--start", type=Path, nargs="*", default=(), help="go on from the towers of these checkpoints")
    parser.add_argument("--work", type=Path, default=WORK)
    args = parser.parse_args()
    train(args.minutes, args.work, args.tiles, args.peak, Workers(args.workers), args.start)


if __name__ == "__main__":
    main()
