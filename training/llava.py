"""Train the two LLaVA models on packed conversations.

python -m training.llava --stage both --minutes 100    one network learns both forms, with the tower of training.vision
python -m training.llava --stage one --minutes 20      LLaVA 1.5 alone, from there
python -m training.llava --stage next --minutes 30     LLaVA 1.6 alone, from there

One picture is encoded once and answers many questions: the questions lie side by side behind it, each at the positions
it would have alone and blind to the others, so that every one of them is exactly a single prompt.
"""

from __future__ import annotations

import argparse
import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import shapes
from training.chat import Form, Segment, segments_about, segments_without_picture
from training.export import read_llava, write_llava
from training.network import Llava, Sight
from training.render import Picture, make_picture
from training.shapes import EOS, GRID
from training.state import WORK, Optimizer, Run, Workers
from training.tokenizer import build
from training.vision import KEPT, Pool, Teacher, normalise, tile_batch, worth_seeing

# The weight of the tower's dense lessons beside the conversations.
_DENSE = 0.25
_NAMES = {False: "1.5", True: "1.6"}


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


def forward(student: Student, rows: list[Row], anyres: bool, teach: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Answer all conversations at once. With `teach` the tower learns too, from the answers and from dense lessons.

    Returns logits [N, V] and labels [N] of the answer tokens, the segment each belongs to [N], and the dense loss.
    """
    llava = student.llava
    shown = [(row.picture, views_of(row.picture, anyres)) for row in rows if row.picture is not None]
    with torch.set_grad_enabled(teach and torch.is_grad_enabled()):
        seen = llava.see(normalise(np.concatenate([picture.pixels[part] for picture, part in shown])))
        dense = seen.new_zeros(())
        if teach:
            classes = torch.from_numpy(np.concatenate([picture.classes[part] for picture, part in shown]))
            places = torch.from_numpy(np.concatenate([picture.places[part] for picture, part in shown]))
            dense, _ = student.teacher.losses(seen, classes, places)
    features = llava.multi_modal_projector(seen)
    layout = _Layout(rows, anyres)
    x = llava.language_model.embed(layout.ids)
    pieces = iter(features.split([len(picture.pixels[part]) for picture, part in shown]))
    images = []
    for row in rows:
        if row.picture is not None:
            piece = next(pieces)
            images.append(pack_image(piece, row.picture, llava.image_newline) if anyres else piece[0])
    x = x.masked_scatter(layout.image[..., None], torch.cat(images))
    states = llava.language_model.hidden(x, layout.positions, layout.sight)
    logits = llava.language_model.lm_head(states[layout.speaks])
    return logits, layout.labels[layout.speaks], layout.owner[layout.speaks], dense


class _Layout:
    """Where everything lies: what comes before the conversations fills the columns of the prefix, padded at its end;
    the conversations [B, S] follow. `ids`, `positions` and `image` (slots) are [B, T]; `labels` of the *next* token and
    the `owner` segment are [B, S].
    """

    def __init__(self, rows: list[Row], anyres: bool) -> None:
        heads = [row.length(anyres) for row in rows]
        prefix = max(heads)
        behind = max(sum(len(segment.ids) for segment in row.segments) for row in rows)
        shape = (len(rows), prefix + behind)
        ids = np.full(shape, EOS)
        positions = np.zeros(shape, np.int64)
        image = np.zeros(shape, bool)
        labels = np.full((len(rows), behind), -100)
        # The segment a token belongs to, counted over the whole batch; -1 is padding.
        owner = np.full((len(rows), behind), -1)
        owners = 0
        for index, (head, row) in enumerate(zip(heads, rows, strict=True)):
            ids[index, : len(row.opening)] = row.opening
            image[index, len(row.opening) : head] = True
            positions[index, :prefix] = np.arange(prefix)
            at = 0
            for segment in row.segments:
                end = at + len(segment.ids)
                ids[index, prefix + at : prefix + end] = segment.ids
                positions[index, prefix + at : prefix + end] = np.arange(head, head + len(segment.ids))
                labels[index, at : end - 1] = segment.labels[1:]
                owner[index, at:end] = owners
                owners += 1
                at = end
        self.ids, self.positions = torch.from_numpy(ids), torch.from_numpy(positions)
        self.image = torch.from_numpy(image)
        self.labels, self.owner = torch.from_numpy(labels), torch.from_numpy(owner)
        self.speaks = self.labels != -100
        before = (torch.arange(prefix) < torch.tensor(heads)[:, None])[:, None].expand(-1, behind, -1)
        same = (self.owner[:, :, None] == self.owner[:, None, :]) & torch.ones(behind, behind, dtype=torch.bool).tril()
        self.sight = Sight(prefix, torch.cat([before, same], dim=2)[:, None])


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
        logits, labels, owner, _ = forward(student, chunk, form.anyres, teach=False)
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


def _words(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in state.items() if not name.startswith("vision_tower.")}


def start(work: Path, stage: str, sources: Sequence[Path]) -> Student:
    """The network a stage begins with: `both` takes the tower of training.vision and the words of given checkpoints;
    one form alone what `both` left, or all of given checkpoints with the heads of that.
    """
    torch.manual_seed(0)
    student = Student()
    if stage == "both":
        student.teacher.load_state_dict(torch.load(work / "vision.pt", weights_only=True)["network"])
    else:
        student.load_state_dict(torch.load(work / "llava-both.pt", weights_only=True)["network"])
    if sources:
        states = [read_llava(source) for source in sources]
        if stage == "both":
            states = [_words(state) for state in states]
        known = {name: [state[name] for state in states if name in state] for state in states for name in state}
        student.llava.load_state_dict({name: sum(found) / len(found) for name, found in known.items()}, strict=False)
    return student


@dataclass(frozen=True)
class Plan:
    """What a stage does: processor minutes, peak rate, pictures in a batch of 1.5, dense tiles beside it, minutes of a
    resting tower.
    """

    stage: str
    minutes: float
    peak: float
    size: int
    tiles: int
    resting_minutes: float
    again: bool = False

    @property
    def forms(self) -> tuple[bool, ...]:
        """The forms learned: True is anyres."""
        return {"both": (False, True), "one": (False,), "next": (True,)}[self.stage]


class School:
    """Lessons of one form for a student: batches of conversations, and tiles for the tower."""

    def __init__(self, student: Student, plan: Plan, work: Path, seed: int) -> None:
        self.student, self.plan = student, plan
        self.pool, self.crowds = Pool(work / "shards"), Pool(work / "crowd")
        self.forms = [Form(build(), anyres) for anyres in plan.forms]
        # A picture of 1.6 has four to six times the tiles.
        self.sources = {
            form.anyres: batches(np.random.default_rng([seed, form.anyres]), form, self.pool, self._size(form.anyres))
            for form in self.forms
        }
        self._turn = threading.Lock()

    def _size(self, anyres: bool) -> int:
        return max(4, self.plan.size // 2) if anyres else self.plan.size

    def lesson(self, anyres: bool, resting: bool) -> tuple[Tensor, tuple[bool, float, float, float]]:
        """Loss of one batch; the form, its answer loss, its dense loss and its share of exact answers.

        Beside 1.5 the tower learns from its padded views and from single tiles, as whole pictures of 1.6 cost six times
        that; where 1.6 learns alone, from those.
        """
        with self._turn:
            rows = next(self.sources[anyres])
        teach = not resting and (not anyres or self.plan.stage == "next")
        logits, labels, owner, dense = forward(self.student, rows, anyres, teach)
        answers = F.cross_entropy(logits, labels)
        if self.plan.tiles:
            dense = dense + self._tiles(resting)
        right = exact_segments(logits, labels, owner, sum(len(row.segments) for row in rows))
        return answers + _DENSE * dense, (anyres, answers.item(), dense.item(), float(np.mean(right)))

    def _tiles(self, resting: bool) -> Tensor:
        """The dense loss of single tiles; the heads learn to read a resting tower."""
        pixels, classes, places = tile_batch(self.pool, self.crowds, self.plan.tiles, self.plan.tiles // 2)
        keep = worth_seeing(places, KEPT)
        row = torch.arange(len(pixels))[:, None]
        with torch.set_grad_enabled(not resting and torch.is_grad_enabled()):
            features = self.student.teacher.tower(pixels, keep)
        return self.student.teacher.losses(features, classes[row, keep], places[row, keep])[0]


def train(plan: Plan, work: Path, workers: Workers, sources: Sequence[Path]) -> Student:
    """Train a stage, or go on from its saved state."""
    student = start(work, plan.stage, sources)
    optimizer = Optimizer(student, plan.peak, slow="tower", slowness=0.5, workers=workers)
    run = Run(work / f"llava-{plan.stage}.pt", student, optimizer, plan.minutes, plan.again)
    random.seed(run.step)
    school = School(student, plan, work, run.step)
    drawn = np.random.default_rng(11)
    check = [make_picture(drawn, None) for _ in range(120)]
    shown: dict[bool, float] = {}
    while not run.done:
        resting = run.spent < plan.resting_minutes * 60
        turns = [plan.forms[index % len(plan.forms)] for index in range(max(workers.count, len(plan.forms)))]
        done = workers.learn(student, [partial(school.lesson, anyres, resting) for anyres in turns])
        run.advance()
        for _, (anyres, _, _, right) in done:
            shown[anyres] = 0.97 * shown.get(anyres, right) + 0.03 * right
        if run.step % 20 == 0:
            parts = [
                f"{_NAMES[anyres]}: loss {answers:.3f} dense {dense:.2f} exact {shown[anyres]:.3f}"
                for _, (anyres, answers, dense, _) in done
            ]
            print(f"step {run.step} {run.spent / 60:.1f} min {', '.join(parts)}", flush=True)
        if run.step % 500 == 0 or run.done:
            for form in school.forms:
                print(f"  check {_NAMES[form.anyres]} {evaluate(student, form, check)}", flush=True)
    return student


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=("both", "one", "next"), required=True)
    parser.add_argument("--minutes", type=float, default=100, help="of processor time, over all workers")
    parser.add_argument("--resting", type=float, default=0, help="minutes before the tower learns too")
    parser.add_argument("--size", type=int, default=16, help="pictures in a batch of 1.5, twice those of 1.6")
    parser.add_argument("--tiles", type=int, default=10, help="single tiles beside them, for the tower alone")
    parser.add_argument("--peak", type=float, default=1.5e-3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--start", type=Path, nargs="*", default=(), help="go on from checkpoints (both: their words)")
    parser.add_argument("--again", action="store_true", help="a finished run goes on for another --minutes")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, help="write the checkpoints into folders here at the end")
    args = parser.parse_args()
    plan = Plan(args.stage, args.minutes, args.peak, args.size, args.tiles, args.resting, args.again)
    student = train(plan, args.work, Workers(args.workers), args.start)
    if args.out:
        for anyres in plan.forms:
            write_llava(student.llava, args.out / ("tiny-llava-1.6" if anyres else "tiny-llava-1.5"), anyres)


if __name__ == "__main__":
    main()
