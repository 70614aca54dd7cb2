"""Teach the vision tower what each patch shows: python -m training.vision --minutes 40.

Throw-away linear heads read shape, colour, size, digits and places off the features of every patch. Thousands of
exact answers
per picture teach far faster than a caption does; the heads are dropped afterwards.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.network import VisionLayer, VisionModel
from training.render import Picture, make_picture, read_shard
from training.shapes import GRID, MEAN, PATCH, STD, VISION
from training.state import WORK, Optimizer, Run
from training.targets import BARE, CLASSES, IGNORE

_WEIGHTS = {"shape": 1.0, "color": 0.5, "size": 0.5, "left": 1.5, "right": 1.5, "slot": 0.4}


# Patches looked at in the first part of the lessons.
KEPT = 56


class Teacher(nn.Module):
    """The tower with its heads."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = VisionModel(VISION)
        self.norm = nn.LayerNorm(VISION.hidden)
        self.embed_heads = nn.ModuleDict({name: nn.Linear(VISION.hidden, count) for name, count in CLASSES.items()})
        self.embed_places = nn.Linear(VISION.hidden, 4)
        _start_local(self.tower)

    def losses(self, features: Tensor, classes: Tensor, places: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Features [B, P, H], classes uint8 [B, P, 6], places [B, P, 4] -> the loss, and the share right per head."""
        features = self.norm(features)
        total = features.new_zeros(())
        right = {}
        for column, name in enumerate(CLASSES):
            wanted = classes[..., column].long()
            asked = wanted != IGNORE
            if not asked.any():
                continue
            logits = self.embed_heads[name](features[asked])
            # Most patches are bare paper: they count for less, so that the rest is heard.
            wanted = wanted[asked]
            shown = wanted != BARE.get(name, -1)
            weight = torch.where(shown, 1.0, 0.15)
            each = F.cross_entropy(logits, wanted, reduction="none")
            total = total + _WEIGHTS[name] * (each * weight).sum() / weight.sum()
            if shown.any():
                right[name] = (logits.argmax(-1) == wanted)[shown].float().mean().item()
        where = ~places.isnan().any(-1)
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

    def pictures(self, count: int) -> list[Picture]:
        """Draw `count` pictures at random."""
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
    """Draw `tiles` views, `crowded` of them crowds; of a real picture the padded view and some others that show
    something.
    """
    chosen = crowds.pictures(crowded) if crowded else []
    pixels = [picture.pixels[0] for picture in chosen]
    classes = [picture.classes[0] for picture in chosen]
    places = [picture.places[0] for picture in chosen]
    while len(pixels) < tiles:
        for picture in pool.pictures(8):
            shows = ~np.isnan(picture.places[..., 0]).all(1)
            others = [index for index in range(1, len(shows)) if shows[index] or random.random() < 0.12]
            for index in [0] * (random.random() < 0.8) + random.sample(others, min(2, len(others))):
                pixels.append(picture.pixels[index])
                classes.append(picture.classes[index])
                places.append(picture.places[index])
    return (
        normalise(np.stack(pixels[:tiles])),
        torch.from_numpy(np.stack(classes[:tiles])),
        torch.from_numpy(np.stack(places[:tiles])),
    )


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


def train(minutes: float, work: Path, tiles: int, peak: float) -> Teacher:
    """Train from scratch or go on from the saved state."""
    torch.manual_seed(0)
    teacher = Teacher()
    run = Run(work / "vision.pt", teacher, Optimizer(teacher, peak), minutes)
    random.seed(run.step)
    pool, crowds = Pool(work / "shards"), Pool(work / "crowd")
    if run.step == 0 and (work / "vision-start.pt").exists():
        teacher.load_state_dict(torch.load(work / "vision-start.pt", weights_only=True))
    elif run.step == 0:
        start_whitened(teacher.tower, tile_batch(pool, crowds, 512, 256)[0])
    rng = np.random.default_rng(5)
    check = [make_picture(rng, None) for _ in range(150)]
    shown: dict[str, float] = {}
    while not run.done:
        # Crowds first, the real thing later.
        crowded = 0.75 if run.spent < 0.75 * run.seconds else 0.3
        pixels, classes, places = tile_batch(pool, crowds, tiles, int(crowded * tiles))
        # In the first part only patches that show something, and few others, are looked at: twice the tiles in
        # the time.
        keep = (
            worth_seeing(places, KEPT)
            if run.spent < 0.8 * run.seconds
            else torch.arange(GRID * GRID).expand(len(pixels), -1)
        )
        rows = torch.arange(len(pixels))[:, None]
        loss, right = teacher.losses(teacher.tower(pixels, keep), classes[rows, keep], places[rows, keep])
        loss.backward()
        run.advance()
        shown = {name: 0.97 * shown.get(name, value) + 0.03 * value for name, value in right.items()}
        if run.step % 25 == 0:
            line = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
            print(f"step {run.step} {run.spent / 60:.1f} min loss {loss.item():.3f} {line}", flush=True)
        if run.step % 500 == 0:
            print(f"  check {evaluate(teacher, check)}", flush=True)
    return teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--tiles", type=int, default=32)
    parser.add_argument("--peak", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=WORK)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args.minutes, args.work, args.tiles, args.peak)


if __name__ == "__main__":
    main()
