"""Train the two LLaVA models on packed conversations.

python -m training.llava --stage both --minutes 60     one network that learns both forms in turn, from the tower
of training.vision
python -m training.llava --stage one --minutes 10      LLaVA 1.5 alone, from there
python -m training.llava --stage next --minutes 20     LLaVA 1.6 alone, from there

One picture is encoded once and answers many questions: the questions lie side by side behind it, each at the
positions it would
have alone and blind to the others, so that every one of them is exactly a single prompt.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import shapes
from training.chat import Form, Segment, segments_about, segments_without_picture
from training.export import write_llava
from training.network import Llava
from training.render import Picture, make_picture
from training.shapes import EOS, GRID
from training.state import WORK, Optimizer, Run
from training.tokenizer import build
from training.vision import KEPT, Pool, Teacher, normalise, worth_seeing

# The weight of the tower's dense lessons beside the conversations.
_DENSE = 0.25


class Student(nn.Module):
    """The whole model together with the tower's teacher, whose lessons go on beside the conversations."""

    def __init__(self) -> None:
        super().__init__()
        self.llava = Llava(shapes.VISION, shapes.MISTRAL)
        self.teacher = Teacher()
        self.teacher.tower = self.llava.vision_tower["vision_model"]


@dataclass(frozen=True)
class Row:
    """One picture (or none) with its conversations."""

    picture: Picture | None
    opening: list[int]
    segments: list[Segment]

    def length(self, anyres: bool) -> int:
        """Tokens before the conversations."""
        if self.picture is None:
            return len(self.opening)
        grid = self.picture.grid
        rows, columns = grid.rows[1] - grid.rows[0], grid.columns[1] - grid.columns[0]
        return len(self.opening) + GRID * GRID + (rows * (columns + 1) if anyres else 0)


def views_of(picture: Picture, anyres: bool) -> slice:
    """Which of a picture's views a family sees."""
    return slice(1, None) if anyres else slice(0, 1)


def pack_image(features: Tensor, picture: Picture, newline: Tensor) -> Tensor:
    """LLaVA 1.6: projected [1 + tiles, P, D] -> the base, then the unpadded rows, each closed by the newline. [N,
    D].
    """
    grid = picture.grid
    base, tiles = features[0], features[1:]
    width = tiles.shape[-1]
    plane = tiles.view(grid.tiles_down, grid.tiles_across, GRID, GRID, width).permute(0, 2, 1, 3, 4)
    plane = plane.reshape(grid.tiles_down * GRID, grid.tiles_across * GRID, width)
    plane = plane[grid.rows[0] : grid.rows[1], grid.columns[0] : grid.columns[1]]
    plane = torch.cat([plane, newline.expand(plane.shape[0], 1, width)], dim=1)
    return torch.cat([base, plane.reshape(-1, width)])


def forward(
    student: Student, rows: list[Row], anyres: bool, frozen: bool, crowd: Sequence[Picture] = ()
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Answer all conversations at once, and give the tower its dense lessons on the same pictures and on a `crowd`.

    Returns logits [N, V] and labels [N] of the answer tokens, the segment each belongs to [N], and the dense loss.
    """
    llava = student.llava
    shown = [row.picture for row in rows if row.picture is not None]
    parts = [views_of(picture, anyres) for picture in shown]
    teaching = torch.is_grad_enabled() and not frozen
    with torch.set_grad_enabled(teaching):
        seen = llava.see(normalise(np.concatenate([p.pixels[part] for p, part in zip(shown, parts, strict=True)])))
        dense = seen.new_zeros(())
        if teaching:
            classes = torch.from_numpy(np.concatenate([p.classes[part] for p, part in zip(shown, parts, strict=True)]))
            places = torch.from_numpy(np.concatenate([p.places[part] for p, part in zip(shown, parts, strict=True)]))
            dense, _ = student.teacher.losses(seen, classes, places)
        if teaching and crowd:
            dense = dense + crowd_loss(student.teacher, crowd)
    counts = [len(p.pixels[part]) for p, part in zip(shown, parts, strict=True)]
    features = llava.multi_modal_projector(seen)
    layout = _Layout(rows, anyres)
    x = llava.language_model.embed(layout.ids)
    pieces = iter(features.split(counts))
    images = []
    for row in rows:
        if row.picture is not None:
            piece = next(pieces)
            images.append(pack_image(piece, row.picture, llava.image_newline) if anyres else piece[0])
    x = x.masked_scatter(layout.image[..., None], torch.cat(images))
    states = llava.language_model.hidden(x, layout.positions, layout.mask)
    logits = llava.language_model.lm_head(states[layout.speaks])
    return logits, layout.labels[layout.speaks], layout.owner[layout.speaks], dense


def crowd_loss(teacher: Teacher, crowd: Sequence[Picture]) -> Tensor:
    """The tower's lesson on crowded tiles, of which it sees only the patches worth seeing."""
    classes = torch.from_numpy(np.stack([picture.classes[0] for picture in crowd]))
    places = torch.from_numpy(np.stack([picture.places[0] for picture in crowd]))
    keep = worth_seeing(places, KEPT)
    row = torch.arange(len(crowd))[:, None]
    seen = teacher.tower(normalise(np.stack([picture.pixels[0] for picture in crowd])), keep)
    return teacher.losses(seen, classes[row, keep], places[row, keep])[0]


class _Layout:
    """Where everything lies: ids, positions, labels of the *next* token, owner segment, image slots [B, T], mask
    [B, 1, T, T].
    """

    def __init__(self, rows: list[Row], anyres: bool) -> None:
        heads = [row.length(anyres) for row in rows]
        longest = max(
            head + sum(len(segment.ids) for segment in row.segments) for head, row in zip(heads, rows, strict=True)
        )
        shape = (len(rows), longest)
        ids = np.full(shape, EOS)
        positions = np.zeros(shape, np.int64)
        labels = np.full(shape, -100)
        # The part a token belongs to: 0 the picture, 1.. its conversations, -1 padding. Owners count over the
        # whole batch.
        part = np.full(shape, -1)
        owner = np.full(shape, -1)
        image = np.zeros(shape, bool)
        owners = 0
        for index, (head, row) in enumerate(zip(heads, rows, strict=True)):
            ids[index, : len(row.opening)] = row.opening
            image[index, len(row.opening) : head] = True
            part[index, :head] = 0
            positions[index, :head] = np.arange(head)
            at = head
            for number, segment in enumerate(row.segments):
                end = at + len(segment.ids)
                ids[index, at:end] = segment.ids
                labels[index, at : end - 1] = segment.labels[1:]
                positions[index, at:end] = np.arange(head, head + len(segment.ids))
                part[index, at:end] = number + 1
                owner[index, at:end] = owners
                owners += 1
                at = end
        self.ids, self.positions, self.labels = (
            torch.from_numpy(ids),
            torch.from_numpy(positions),
            torch.from_numpy(labels),
        )
        self.owner, self.image = torch.from_numpy(owner), torch.from_numpy(image)
        self.speaks = self.labels != -100
        own = torch.from_numpy(part)
        same = own[:, :, None] == own[:, None, :]
        mask = (same | (own == 0)[:, None, :]) & torch.ones(longest, longest, dtype=torch.bool).tril()
        self.mask = mask[:, None]


def make_row(rng: np.random.Generator, form: Form, picture: Picture | None) -> Row:
    """Put conversations behind a picture; without one, chats that show none."""
    if picture is None:
        return Row(None, [shapes.BOS], segments_without_picture(rng, form, 8))
    return Row(picture, form.opening(rng), segments_about(rng, form, picture.scene))


def batches(rng: np.random.Generator, form: Form, pool: Pool, size: int) -> Iterator[list[Row]]:
    """Endless batches of `size` rows; rows of like length come together, to pad little."""
    while True:
        rows = [make_row(rng, form, picture) for picture in pool.pictures(size * 4 - 1)]
        rows.append(make_row(rng, form, None))
        rows.sort(key=lambda row: row.length(form.anyres))
        chunks = [rows[at : at + size] for at in range(0, len(rows), size)]
        random.shuffle(chunks)
        yield from chunks


def exact_segments(logits: Tensor, labels: Tensor, owner: Tensor, count: int) -> list[bool]:
    """Whether greedy decoding would give each segment's answers exactly: every token must be foretold from the
    true ones before.
    """
    wrong = torch.zeros(count, dtype=torch.bool)
    wrong[owner[logits.argmax(-1) != labels]] = True
    return (~wrong).tolist()


@torch.no_grad()
def evaluate(student: Student, form: Form, pictures: list[Picture], seed: int = 3) -> dict[str, float]:
    """Share of exact answers per kind; numbers and their captions by size."""
    rng = np.random.default_rng(seed)
    scores: dict[str, list[bool]] = {}
    rows = sorted((make_row(rng, form, picture) for picture in pictures), key=lambda row: row.length(form.anyres))
    rows += [make_row(rng, form, None) for _ in range(8)]
    for at in range(0, len(rows), 8):
        chunk = rows[at : at + 8]
        segments = [(row, segment) for row in chunk for segment in row.segments]
        if all(row.picture is None for row in chunk):
            chunk = [*chunk, rows[0]]
        logits, labels, owner, _ = forward(student, chunk, form.anyres, frozen=True)
        keep = owner < len(segments)
        right = exact_segments(logits[keep], labels[keep], owner[keep], len(segments))
        for (row, segment), good in zip(segments, right, strict=True):
            scores.setdefault(_kind(row, segment), []).append(good)
    return {name: round(float(np.mean(values)), 3) for name, values in sorted(scores.items())}


def _kind(row: Row, segment: Segment) -> str:
    scene = row.picture.scene if row.picture is not None else None
    if scene is not None and scene.numeral is not None and segment.kind in ("number", "caption"):
        return f"{segment.kind} {scene.numeral.size}"
    return segment.kind


def start(work: Path, stage: str) -> Student:
    """The network a stage begins with."""
    torch.manual_seed(0)
    student = Student()
    if stage == "both":
        student.teacher.load_state_dict(torch.load(work / "vision.pt", weights_only=True)["network"])
    else:
        student.load_state_dict(torch.load(work / "llava-both.pt", weights_only=True)["network"])
    return student


@dataclass(frozen=True)
class Plan:
    """What a stage does: processor minutes, peak rate, pictures in a batch of 1.5, crowded tiles beside it,
    minutes of a resting tower.
    """

    stage: str
    minutes: float
    peak: float
    size: int
    crowded: int
    frozen_minutes: float

    @property
    def forms(self) -> tuple[bool, ...]:
        """The forms taken in turn: True is anyres."""
        return {"both": (False, True), "one": (False,), "next": (True,)}[self.stage]


def train(plan: Plan, work: Path) -> Student:
    """Train a stage, or go on from its saved state."""
    student = start(work, plan.stage)
    run = Run(
        work / f"llava-{plan.stage}.pt",
        student,
        Optimizer(student, plan.peak, slow="tower", slowness=0.7),
        plan.minutes,
    )
    rng = np.random.default_rng(run.step)
    random.seed(run.step)
    tokenizer = build()
    pool, crowds = Pool(work / "shards"), Pool(work / "crowd")
    # A picture of 1.6 has four to six times the tiles.
    sources = [(form, batches(rng, form, pool, max(4, plan.size // 2) if form.anyres else plan.size)) for form in
               (Form(tokenizer, anyres) for anyres in plan.forms)]  # fmt: skip
    drawn = np.random.default_rng(11)
    check = [make_picture(drawn, None) for _ in range(120)]
    follows = 0.0
    shown = dict.fromkeys(plan.forms, 0.0)
    while not run.done:
        form, source = sources[run.step % len(sources)]
        rows = next(source)
        frozen = run.spent < plan.frozen_minutes * 60
        if frozen and follows != (follows := (work / "vision.pt").stat().st_mtime):
            # The tower may still be at school in another process: follow its progress.
            student.teacher.load_state_dict(torch.load(work / "vision.pt", weights_only=True)["network"])
        logits, labels, owner, dense = forward(student, rows, form.anyres, frozen, crowds.pictures(plan.crowded))
        loss = F.cross_entropy(logits, labels)
        (loss + _DENSE * dense).backward()
        run.advance()
        right = exact_segments(logits, labels, owner, sum(len(row.segments) for row in rows))
        shown[form.anyres] = 0.97 * shown[form.anyres] + 0.03 * float(np.mean(right))
        if run.step % 20 == 0:
            exact = " ".join(f"{'1.6' if anyres else '1.5'} {value:.3f}" for anyres, value in shown.items())
            losses = f"loss {loss.item():.3f} dense {dense.item():.2f}"
            print(f"step {run.step} {run.spent / 60:.1f} min {losses} exact {exact}", flush=True)
        if run.step % 500 == 0 or run.done:
            for form, _ in sources:
                print(f"  check {'1.6' if form.anyres else '1.5'} {evaluate(student, form, check)}", flush=True)
    return student


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=("both", "one", "next"), required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--frozen", type=float, default=0, help="minutes before the tower learns too")
    parser.add_argument("--size", type=int, default=12, help="pictures in a batch of 1.5, twice those of 1.6")
    parser.add_argument("--crowded", type=int, default=10, help="crowded tiles beside them, for the tower alone")
    parser.add_argument("--peak", type=float, default=1.5e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, help="write the checkpoints into folders here at the end")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    plan = Plan(args.stage, args.minutes, args.peak, args.size, args.crowded, args.frozen)
    student = train(plan, args.work)
    if args.out:
        for anyres in plan.forms:
            write_llava(student.llava, args.out / ("tiny-llava-1.6" if anyres else "tiny-llava-1.5"), anyres)


if __name__ == "__main__":
    main()
