"""Words for things, and the small differences in how people type the same request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from triptych.embedded.world.scene import Thing

T = TypeVar("T")

_PLURAL = {"cross": "crosses", "plus sign": "plus signs", "plus": "pluses"}


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Choose one of `options` evenly."""
    return options[int(rng.integers(len(options)))]


def say_color(rng: np.random.Generator, color: str) -> str:
    return "grey" if color == "gray" and rng.random() < 0.4 else color


def say_size(rng: np.random.Generator, size: str) -> str:
    if rng.random() < 0.7:
        return size
    return pick(rng, ("little", "tiny")) if size == "small" else "big"


def say_shape(rng: np.random.Generator, shape: str) -> str:
    return pick(rng, ("plus sign", "plus")) if shape == "cross" and rng.random() < 0.15 else shape


def say_object(rng: np.random.Generator) -> str:
    return pick(rng, ("object", "object", "object", "shape", "thing", "figure"))


def number_of(text: str) -> str:
    return str(len(text))


def mention(rng: np.random.Generator, features: dict[str, str], plural: bool = False) -> str:
    """Name whatever has the given features: "red object", "small circles"."""
    words = []
    if "size" in features:
        words.append(say_size(rng, features["size"]))
    if "color" in features:
        words.append(say_color(rng, features["color"]))
    noun = say_shape(rng, features["shape"]) if "shape" in features else say_object(rng)
    words.append(_PLURAL.get(noun, noun + "s") if plural else noun)
    return " ".join(words)


def mentions(rng: np.random.Generator, things: Sequence[Thing], thing: Thing, keys: tuple[str, ...]) -> str | None:
    """Name `thing` by some of `keys` so that no other object answers to the name; None if that is impossible."""
    choices = []
    for mask in range(1, 2 ** len(keys)):
        chosen = [key for place, key in enumerate(keys) if mask >> place & 1]
        if chosen == ["size"] and rng.random() < 0.5:
            continue
        features = {key: getattr(thing, key) for key in chosen}
        rivals = [other for other in things if all(getattr(other, key) == value for key, value in features.items())]
        if len(rivals) == 1:
            choices.append(features)
    if not choices:
        return None
    # People use the fewest words that do: weigh short names more.
    weights = np.array([4.0 ** -len(features) * (2.0 if "shape" in features else 1.0) for features in choices])
    return mention(rng, choices[rng.choice(len(choices), p=weights / weights.sum())])


def absent_mention(rng: np.random.Generator, shape: str) -> str:
    """Name a shape that the scene lacks."""
    return say_shape(rng, shape)


_WHERE = (
    " in the picture",
    " in the image",
    " in this image",
    " in this picture",
    " in the drawing",
    " here",
    " in the photo",
)
_BEFORE = ("Please tell me: ", "Tell me, ", "Question: ", "Look at the picture. ", "Hi, ", "Please answer: ")
_AFTER = (
    " Answer briefly.",
    " Answer in one word.",
    " Please answer.",
    " Answer the question using a single word or phrase.",
)


def vary(rng: np.random.Generator, text: str, place: bool = True) -> str:
    """Change what people change without meaning it: where they add "in the picture", case, final mark, politeness."""
    mark = text[-1] if text[-1] in "?." else ""
    body = text[: len(text) - len(mark)]
    if place and mark == "?" and not any(word in body for word in ("picture", "image", "here")) and rng.random() < 0.18:
        body += pick(rng, _WHERE)
    if mark and rng.random() < 0.15:
        mark = ""
    if rng.random() < 0.2:
        body = body[0].lower() + body[1:]
    roll = rng.random()
    if roll < 0.04:
        before = pick(rng, _BEFORE)
        body = before + body[0].lower() + body[1:]
    elif roll < 0.08 and mark:
        mark += pick(rng, _AFTER)
    return body + mark
