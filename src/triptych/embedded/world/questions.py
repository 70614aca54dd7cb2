"""Questions about a scene in the words people type, each with its one exact answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from triptych.embedded.world.captions import CAPTION_REQUESTS, caption, describe
from triptych.embedded.world.offtopic import REFUSAL, sample_offtopic
from triptych.embedded.world.phrasing import (
    absent_mention,
    mention,
    mentions,
    number_of,
    pick,
    say_color,
    say_object,
    say_shape,
    say_size,
    vary,
)
from triptych.embedded.world.scene import COLORS, SHAPES, SIZES, Scene, Thing, clear_direction

NO_NUMBER = "there is no number"


@dataclass(frozen=True)
class Question:
    """One question with its exact answer. `kind` groups accuracies."""

    text: str
    answer: str
    kind: str


def ask_caption(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask for the caption."""
    return Question(vary(rng, pick(rng, CAPTION_REQUESTS), place=False), caption(scene), "caption")


def ask_color(rng: np.random.Generator, scene: Scene) -> Question | None:
    """Ask for the colour of an object that the words name uniquely."""
    found = _unique(rng, scene, ("size", "shape"))
    if found is None:
        return None
    thing, name = found
    forms = (
        "What color is {0}?", "What color is {0}?", "Which color is {0}?", "What is the color of {0}?",
        "What color does {0} have?", "Which color does {0} have?", "Tell me the color of {0}.",
    )  # fmt: skip
    text = pick(rng, forms).format("the " + name)
    return Question(vary(rng, _spell(rng, text)), thing.color, "color")


def ask_shape(rng: np.random.Generator, scene: Scene) -> Question | None:
    """Ask for the shape of an object named by colour or size."""
    found = _unique(rng, scene, ("size", "color"))
    if found is None:
        return None
    thing, name = found
    forms = (
        "What shape is {0}?", "What shape is {0}?", "Which shape is {0}?", "What is the shape of {0}?",
        "What kind of shape is {0}?", "What shape does {0} have?", "What is {0}?", "Tell me the shape of {0}.",
    )  # fmt: skip
    return Question(vary(rng, pick(rng, forms).format("the " + name)), thing.shape, "shape")


def ask_size(rng: np.random.Generator, scene: Scene) -> Question | None:
    """Ask whether an object is small or large."""
    found = _unique(rng, scene, ("color", "shape"))
    if found is None:
        return None
    thing, name = found
    forms = (
        "What size is {0}?", "How big is {0}?", "How large is {0}?", "What is the size of {0}?",
        "Is {0} small or large?", "Is {0} large or small?", "Is {0} big or small?",
    )  # fmt: skip
    return Question(vary(rng, pick(rng, forms).format("the " + name)), thing.size, "size")


def ask_count(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask how many objects there are, or how many of a colour, shape or size."""
    things = scene.things
    features: dict[str, str] = {}
    if rng.random() < 0.7:
        chosen = things[rng.integers(len(things))] if things and rng.random() < 0.7 else None
        for feature in pick(rng, _COUNTED):
            features[feature] = getattr(chosen, feature) if chosen else pick(rng, _VALUES[feature])
    count = sum(all(getattr(thing, key) == value for key, value in features.items()) for thing in things)
    name = mention(rng, features, plural=True)
    forms = (
        "How many {0} are there?", "How many {0} are there?", "How many {0} are in the picture?",
        "How many {0} can you see?", "How many {0} do you see?", "Count the {0}.", "What is the number of {0}?",
        "How many {0}?", "How many {0} does the image show?",
    )  # fmt: skip
    return Question(vary(rng, pick(rng, forms).format(name)), str(count), "count")


_COUNTED = (("color",), ("color",), ("shape",), ("shape",), ("size",), ("color", "shape"), ("size", "shape"))
_VALUES = {"color": COLORS, "shape": SHAPES, "size": SIZES}


_SOUGHT = (("color", "shape"),) * 4 + (("shape",), ("color",), ("size", "shape"), ("size", "color", "shape"))


def ask_exists(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask whether something of a given look is there; half of the answers are yes."""
    things = scene.things
    keys = pick(rng, _SOUGHT)
    wanted = {key: pick(rng, _VALUES[key]) for key in keys}
    if things:
        # A near miss (one feature changed) is the hard way to say no.
        near = things[rng.integers(len(things))]
        wanted = {key: getattr(near, key) for key in keys}
        if rng.random() < 0.8:
            changed = keys[rng.integers(len(keys))]
            other = things[rng.integers(len(things))] if rng.random() < 0.5 else None
            wanted[changed] = getattr(other, changed) if other else pick(rng, _VALUES[changed])
    there = any(all(getattr(thing, key) == value for key, value in wanted.items()) for thing in things)
    name = mention(rng, wanted)
    name = ("an " if name[0] in "aeiou" else "a ") + name
    forms = (
        "Is there {0}?", "Is there {0}?", "Is there {0} in the picture?", "Can you see {0}?", "Do you see {0}?",
        "Does the picture contain {0}?", "Does the image show {0}?", "Is {0} in the image?", "Is there {0} here?",
    )  # fmt: skip
    return Question(vary(rng, pick(rng, forms).format(name)), "yes" if there else "no", "exists")


def ask_is(rng: np.random.Generator, scene: Scene) -> Question | None:
    """Ask whether a named object has a given colour, shape or size."""
    key = pick(rng, ("color", "color", "shape", "size"))
    found = _unique(rng, scene, tuple(other for other in ("size", "color", "shape") if other != key))
    if found is None:
        return None
    thing, name = found
    value = getattr(thing, key) if rng.random() < 0.5 else pick(rng, _VALUES[key])
    said = {"color": say_color, "size": say_size, "shape": lambda r, v: "a " + say_shape(r, v)}[key](rng, value)
    answer = "yes" if value == getattr(thing, key) else "no"
    return Question(vary(rng, f"Is the {name} {said}?"), answer, "exists")


_SIDE = {
    "left": ("to the left of", "left of", "on the left of", "on the left side of"),
    "right": ("to the right of", "right of", "on the right of", "on the right side of"),
    "above": ("above", "above", "over", "on top of"),
    "below": ("below", "below", "under", "beneath", "underneath"),
}


def ask_beside(rng: np.random.Generator, scene: Scene) -> Question | None:
    """Ask what lies on one side of an object; only where one object or none clearly does."""
    found = _unique(rng, scene, ("size", "color", "shape"))
    if found is None:
        return None
    thing, name = found
    places = {other: clear_direction(other, thing) for other in scene.things if other is not thing}
    if None in places.values():
        return None
    taken = [side for side in _SIDE if side in places.values()]
    side = pick(rng, taken) if taken and rng.random() < 0.7 else pick(rng, tuple(_SIDE))
    there = [other for other, where in places.items() if where == side]
    if len(there) > 1:
        return None
    said = pick(rng, _SIDE[side])
    forms = (
        "What is {0} the {1}?", "What is {0} the {1}?", "What's {0} the {1}?",
        "What " + say_object(rng) + " is {0} the {1}?", "Which " + say_object(rng) + " is {0} the {1}?",
        "What can you see {0} the {1}?", "What lies {0} the {1}?", "What do you see {0} the {1}?",
    )  # fmt: skip
    answer = describe(there[0]) if there else "nothing"
    return Question(vary(rng, pick(rng, forms).format(said, name)), answer, "beside")


def ask_side(rng: np.random.Generator, scene: Scene) -> Question | None:
    """Ask whether one object is on a given side of another."""
    if len(scene.things) < 2:
        return None
    a, b = rng.permutation(len(scene.things))[:2]
    first, second = scene.things[a], scene.things[b]
    where = clear_direction(first, second)
    names = [mentions(rng, scene.things, thing, ("size", "color", "shape")) for thing in (first, second)]
    if where is None or None in names:
        return None
    side = where if rng.random() < 0.5 else pick(rng, tuple(_SIDE))
    answer = "yes" if side == where else "no"
    return Question(vary(rng, f"Is the {names[0]} {pick(rng, _SIDE[side])} the {names[1]}?"), answer, "exists")


def ask_missing(rng: np.random.Generator, scene: Scene) -> Question | None:
    """Ask about an object that is not there: the answer says so."""
    shape = pick(rng, SHAPES)
    if any(thing.shape == shape for thing in scene.things):
        return None
    said = absent_mention(rng, shape)
    forms = (
        "What color is the {0}?", "What size is the {0}?", "What is to the left of the {0}?", "What is above the {0}?",
    )  # fmt: skip
    return Question(vary(rng, _spell(rng, pick(rng, forms).format(said))), f"there is no {shape}", "missing")


NUMBER_REQUESTS = (
    "What number is written?", "What number is written?", "What number is this?", "Which number is written?",
    "What number is it?", "What is the number?", "What number do you see?", "What number can you see?",
    "What does it say?", "Read the number.", "What is written?", "What is written here?", "What number is shown?",
    "Which number is shown?", "Which number is this?", "What is the handwritten number?", "Read the digits.",
    "What digits are written?", "Please read the number.", "What number is in the picture?",
    "What number does the image show?", "What does the number say?",
)  # fmt: skip


def ask_number(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask for the handwritten number."""
    answer = scene.numeral.text if scene.numeral else NO_NUMBER
    return Question(vary(rng, pick(rng, NUMBER_REQUESTS)), answer, "number" if scene.numeral else "missing")


def ask_digits(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask how many digits there are, or whether there is a number at all."""
    if scene.numeral is None or rng.random() < 0.4:
        sought = (
            "Is there a number?", "Is there a number in the picture?", "Do you see a number?",
            "Is there a handwritten number?",
        )  # fmt: skip
        return Question(vary(rng, pick(rng, sought)), "yes" if scene.numeral else "no", "exists")
    forms = ("How many digits are there?", "How many digits does the number have?", "How many digits are written?")
    return Question(vary(rng, pick(rng, forms)), number_of(scene.numeral.text), "count")


def ask_offtopic(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask about something that this world does not have."""
    return Question(sample_offtopic(rng), REFUSAL, "offtopic")


_Asker = Callable[[np.random.Generator, Scene], Question | None]
_ABOUT_THINGS: tuple[tuple[_Asker, float], ...] = (
    (ask_color, 0.19), (ask_shape, 0.16), (ask_size, 0.06), (ask_count, 0.16), (ask_exists, 0.14), (ask_is, 0.05),
    (ask_beside, 0.16), (ask_side, 0.03), (ask_missing, 0.02), (ask_number, 0.01), (ask_digits, 0.01),
    (ask_offtopic, 0.01),
)  # fmt: skip
_ABOUT_NUMBER: tuple[tuple[_Asker, float], ...] = (
    (ask_number, 0.82), (ask_digits, 0.08), (ask_count, 0.02), (ask_exists, 0.03), (ask_missing, 0.02),
    (ask_offtopic, 0.03),
)  # fmt: skip
_ABOUT_NOTHING: tuple[tuple[_Asker, float], ...] = (
    (ask_count, 0.3), (ask_exists, 0.3), (ask_missing, 0.2), (ask_number, 0.1), (ask_offtopic, 0.1),
)  # fmt: skip


def sample_question(rng: np.random.Generator, scene: Scene) -> Question:
    """Draw one question (never a caption request) that fits the scene."""
    table = _ABOUT_NUMBER if scene.numeral else _ABOUT_THINGS if scene.things else _ABOUT_NOTHING
    weights = np.array([weight for _, weight in table])
    while True:
        asker = table[rng.choice(len(table), p=weights / weights.sum())][0]
        question = asker(rng, scene)
        if question is not None:
            return question


def _unique(rng: np.random.Generator, scene: Scene, keys: tuple[str, ...]) -> tuple[Thing, str] | None:
    for index in rng.permutation(len(scene.things)):
        thing = scene.things[index]
        name = mentions(rng, scene.things, thing, keys)
        if name is not None:
            return thing, name
    return None


def _spell(rng: np.random.Generator, text: str) -> str:
    return text.replace("color", "colour") if rng.random() < 0.3 else text
