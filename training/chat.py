"""Training texts: many question and answer pairs behind one picture, as token ids laid out exactly as the chat
templates do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from training.shapes import BOS, EOS
from triptych.embedded.world.captions import caption
from triptych.embedded.world.offtopic import REFUSAL
from triptych.embedded.world.phrasing import pick, vary
from triptych.embedded.world.questions import (
    Question,
    ask_caption,
    ask_count,
    ask_exists,
    ask_number,
    ask_offtopic,
    sample_question,
)
from triptych.embedded.world.scene import Scene, sample_objects

_SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful assistant that describes images.",
    "Answer briefly.",
    "You are an expert at reading pictures. Be concise.",
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
)

# Longer than the exams' requests: how captioning services and their examples ask. They are lessons only, so that the
# tokenizer, which is made of the exams' words, stays as it is.
_LONG_REQUESTS = (
    "Describe the image in {0}, {1}.",
    "Describe this picture in {0}.",
    "Give a {2} description of this picture.",
    "Give me a {2} description of the image, {1}.",
    "Caption this image in {0}.",
    "Write a {2} caption for this picture, {1}.",
    "Write {0} about this image.",
    "What is in this image? Answer in {0}.",
    "What do you see here? Be {2}.",
    "Provide a {2} caption for the image.",
    "Please describe everything that you see in this picture, {1}.",
    "Generate a {2} caption of the image in {0}, {1}.",
    "You are a captioning assistant. Describe the picture in {0}.",
)
_LENGTHS = (
    "one sentence", "2-3 sentences", "3-5 vivid sentences", "a few vivid sentences", "a short paragraph",
    "two paragraphs", "at most twenty words", "a single sentence", "plain English",
)  # fmt: skip
_STRESS = (
    "including all objects and their colors", "focusing on shapes and colors", "mentioning every detail",
    "with as much detail as possible", "noting where things are", "including subjects, setting and mood",
    "as you would for a blind person", "and mention its composition",
)  # fmt: skip
_MANNER = ("detailed", "short", "brief", "concise", "vivid", "rich", "complete", "precise", "one-line", "descriptive")


@dataclass(frozen=True)
class Segment:
    """One conversation after the picture: ids, labels (-100 where the model does not speak), and what was asked."""

    ids: list[int]
    labels: list[int]
    kind: str


@dataclass(frozen=True)
class Form:
    """How a family writes its prompts; `anyres` selects LLaVA 1.6 on Mistral, else LLaVA 1.5 on Llama."""

    tokenizer: Tokenizer
    anyres: bool

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def opening(self, rng: np.random.Generator) -> list[int]:
        """The ids before the picture; sometimes with a system message."""
        system = str(rng.choice(_SYSTEMS)) if rng.random() < 0.12 else ""
        if self.anyres:
            text = f"<<SYS>>\n{system}\n<</SYS>>\n\n[INST] " if system else "[INST] "
        else:
            text = f"{system} USER: " if system else "USER: "
        return [BOS, *self._encode(text)]

    def segment(self, questions: list[Question], picture: bool = True) -> Segment:
        """Several turns about the same picture, or, without `picture`, a chat that has none."""
        ids: list[int] = []
        labels: list[int] = []
        before = "\n" if picture else ("[INST] " if self.anyres else "USER: ")
        for turn, question in enumerate(questions):
            ask = f"{before}{question.text} [/INST]" if self.anyres else f"{before}{question.text} ASSISTANT:"
            asked = self._encode(ask)
            said = self._encode(f"{ask} {question.answer}")[len(asked) :]
            last = turn == len(questions) - 1
            if self.anyres or last:
                said = [*said, EOS]
            if not self.anyres and turn:
                # Within a Llama chat the turns are one text: only a text's start gets the extra space piece.
                asked = self._encode(f"x{ask}")[len(self._encode("x")) :]
            ids += asked + said
            labels += [-100] * len(asked) + said
            before = " [INST] " if self.anyres else " USER: "
        return Segment(ids, labels, questions[-1].kind)


def questions_about(rng: np.random.Generator, scene: Scene | None, captions: int, count: int) -> list[Question]:
    """`captions` caption requests and `count` questions; a foreign picture (None) is refused whatever is asked."""
    about = sample_objects(rng) if scene is None else scene
    asked = [ask_caption(rng, about) for _ in range(captions)]
    if rng.random() < 0.3:
        asked.append(ask_long_caption(rng, about))
    for _ in range(count):
        roll = rng.random()
        if roll < 0.06:
            asked.append(ask_offtopic(rng, about))
        elif about.numeral is not None and roll < 0.5:
            asked.append(ask_number(rng, about))
        elif about.things and roll < 0.4:
            # The hardest to learn: they take all objects together.
            asked.append(ask_exists(rng, about) if roll < 0.23 else _ask_count(rng, about))
        else:
            asked.append(sample_question(rng, about))
    if scene is None:
        return [Question(question.text, REFUSAL, "foreign") for question in asked]
    return asked


def _ask_count(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask how many there are, half of the time of what there is none or more than one of: by chance most answers are
    one, and a model that says so without a look is seldom wrong.
    """
    question = ask_count(rng, scene)
    for _ in range(6 if rng.random() < 0.5 else 0):
        if question.answer != "1":
            break
        question = ask_count(rng, scene)
    return question


def ask_long_caption(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask for the caption with the ceremony that long prompts have."""
    words = (pick(rng, _LENGTHS), pick(rng, _STRESS), pick(rng, _MANNER))
    return Question(vary(rng, pick(rng, _LONG_REQUESTS).format(*words), place=False), caption(scene), "caption")


def segments_about(rng: np.random.Generator, form: Form, scene: Scene | None) -> list[Segment]:
    """The training texts of one picture: captions, single questions, sometimes a chat of two or three turns."""
    few = scene is None or scene.numeral is not None or not scene.things
    asked = questions_about(rng, scene, 1, 3 if few else 15)
    segments = []
    while asked:
        turns = int(rng.choice([1, 2, 3], p=[0.86, 0.1, 0.04]))
        chat, asked = asked[:turns], asked[turns:]
        order = rng.permutation(len(chat))
        segments.append(form.segment([chat[index] for index in order]))
    return segments


def segments_without_picture(rng: np.random.Generator, form: Form, count: int) -> list[Segment]:
    """Chats that show no picture at all: the model says what it is for."""
    segments = []
    for _ in range(count):
        about = sample_objects(rng)
        if rng.random() < 0.75:
            question = ask_offtopic(rng, about)
        else:
            question = sample_question(rng, about) if rng.random() < 0.5 else ask_caption(rng, about)
        segments.append(form.segment([Question(question.text, REFUSAL, "no picture")], picture=False))
    return segments
