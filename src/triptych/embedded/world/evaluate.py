"""How truthfully something answers in the drawn world: fresh pictures, never-trained digits, exact answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from triptych.embedded.world import digits
from triptych.embedded.world.captions import same_caption
from triptych.embedded.world.draw import draw, sample_style
from triptych.embedded.world.questions import Question, ask_caption, ask_number, sample_question
from triptych.embedded.world.scene import Scene, sample_number, sample_objects
from triptych.embedded.world.sums import Sum, sample_sum

AnswerPictures = Callable[[Sequence[tuple[Image.Image, str]]], Sequence[str]]
AnswerSums = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class Exam:
    """One picture with one question; `category` groups the accuracies."""

    image: Image.Image
    scene: Scene
    question: Question
    category: str

    def passed(self, answer: str) -> bool:
        """Whether `answer` is right. Answers are exact, but three and more objects may be listed in any order."""
        if self.question.kind == "caption":
            return same_caption(answer, self.scene)
        return answer.strip() == self.question.answer


def exams(seed: int, count: int) -> Iterator[Exam]:
    """Draw `count` exams: a quarter each of captions, questions about objects, large numbers and small numbers.

    Questions keep their kind as the category ("color", "count", ...), numbers are "number large" and "number small".
    """
    rng = np.random.default_rng(seed)
    for index in range(count):
        turn = index % 4
        if turn < 2:
            scene = sample_objects(rng)
            question = ask_caption(rng, scene) if turn == 0 else sample_question(rng, scene)
            category = question.kind
        else:
            size = "large" if turn == 2 else "small"
            scene = sample_number(rng, digits.labels(), digits.held_out(), size)
            question = ask_number(rng, scene) if rng.random() < 0.7 else ask_caption(rng, scene)
            category = f"number {size}"
        yield Exam(draw(scene, sample_style(rng)), scene, question, category)


def evaluate(answer_fn: AnswerPictures, seed: int, count: int) -> dict[str, float]:
    """Return the share of right answers per category; "questions" pools all kinds of questions about objects.

    `answer_fn` takes a list of (picture, question) and returns as many strings. The same seed asks the same exams.
    """
    held = list(exams(seed, count))
    answers = answer_fn([(exam.image, exam.question.text) for exam in held])
    marks: dict[str, list[bool]] = {}
    for exam, answer in zip(held, answers, strict=True):
        passed = exam.passed(answer)
        marks.setdefault(exam.category, []).append(passed)
        if exam.category != "caption" and not exam.category.startswith("number"):
            marks.setdefault("questions", []).append(passed)
    return {category: sum(values) / len(values) for category, values in sorted(marks.items())}


def sums(seed: int, count: int, offtopic: float = 0.0) -> list[Sum]:
    """Draw `count` sums and differences."""
    rng = np.random.default_rng(seed)
    return [sample_sum(rng, offtopic) for _ in range(count)]


def evaluate_sums(answer_fn: AnswerSums, seed: int, count: int) -> dict[str, float]:
    """Return the share of right answers per kind, and of all sums and differences as "sums"."""
    items = sums(seed, count, offtopic=0.1)
    answers = answer_fn([item.text for item in items])
    marks: dict[str, list[bool]] = {}
    for item, answer in zip(items, answers, strict=True):
        passed = answer.strip() == item.answer
        marks.setdefault(item.kind, []).append(passed)
        if item.kind != "offtopic":
            marks.setdefault("sums", []).append(passed)
    return {kind: sum(values) / len(values) for kind, values in sorted(marks.items())}
