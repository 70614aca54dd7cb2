"""Sums and differences of whole numbers up to 99, in the words people type."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from triptych.embedded.world.offtopic import SUMS_REFUSAL, sample_offtopic

_PLUS = (
    "What is {0} + {1}?", "What is {0} plus {1}?", "{0} plus {1}", "{0} + {1}", "{0}+{1}", "{0}+{1}=",
    "{0} + {1} =", "{0}+{1}=?", "{0} + {1} = ?", "add {0} and {1}", "add {1} to {0}", "How much is {0} + {1}?",
    "How much is {0} plus {1}?", "sum of {0} and {1}", "What is the sum of {0} and {1}?", "Calculate {0} + {1}",
    "Compute {0} plus {1}.", "What's {0} + {1}?", "What's {0}+{1}?", "What does {0} plus {1} make?",
    "What do you get when you add {0} and {1}?", "What is {0}+{1}?", "What does {0} + {1} equal?",
    "Please add {0} and {1}.", "{0} and {1} together", "Add {0} to {1}.", "Tell me {0} + {1}.",
    "Can you add {0} and {1}?", "{0} plus {1} is", "{0} plus {1} equals", "{0} plus {1} equals what?",
    "What is {0} added to {1}?", "Total of {0} and {1}?",
)  # fmt: skip
_MINUS = (
    "What is {0} - {1}?", "What is {0} minus {1}?", "{0} minus {1}", "{0} - {1}", "{0}-{1}", "{0}-{1}=",
    "{0} - {1} =", "{0}-{1}=?", "{0} - {1} = ?", "subtract {1} from {0}", "take {1} from {0}",
    "How much is {0} - {1}?", "How much is {0} minus {1}?", "What is the difference of {0} and {1}?",
    "Calculate {0} - {1}", "Compute {0} minus {1}.", "What's {0} - {1}?", "What's {0}-{1}?",
    "difference of {0} and {1}", "What is {0}-{1}?", "What does {0} minus {1} make?", "What does {0} - {1} equal?",
    "Please subtract {1} from {0}.", "Take away {1} from {0}.", "Tell me {0} - {1}.", "{0} take away {1}",
    "{0} less {1}", "{0} minus {1} is", "{0} minus {1} equals", "{0} minus {1} equals what?",
    "What is {1} subtracted from {0}?", "Can you subtract {1} from {0}?",
)  # fmt: skip
# Numbers and arithmetic that this world does not have: asked so that the model learns where it ends.
_BEYOND = (
    "What is {0} times {1}?", "{0} * {1}", "What is {0} x {1}?", "{0} divided by {1}", "What is {0} / {1}?",
    "multiply {0} by {1}", "What is the square root of {0}?", "Is {0} prime?", "Count from {0} to {1}.",
    "What is {0} percent of {1}?", "{0}", "What is {0}00 + {1}00?", "What is 1{0}4 + {1}?",
    "What happened in 19{0}?", "Convert {0} miles to km.", "I have {0} apples.",
)  # fmt: skip


@dataclass(frozen=True)
class Sum:
    """One request with its exact answer; `kind` is sum, difference or offtopic."""

    text: str
    answer: str
    kind: str


def sample_sum(rng: np.random.Generator, offtopic: float = 0.0) -> Sum:
    """Draw a sum or difference of two whole numbers from 0 to 99; with probability `offtopic` something else."""
    a, b = (int(value) for value in rng.integers(0, 100, size=2))
    if rng.random() < 0.25:
        a, b = (int(value) for value in rng.integers(0, 30, size=2))
    if rng.random() < offtopic:
        if rng.random() < 0.25:
            return Sum(_BEYOND[int(rng.integers(len(_BEYOND)))].format(max(a, 2), max(b, 2)), SUMS_REFUSAL, "offtopic")
        return Sum(sample_offtopic(rng, about_pictures=rng.random() < 0.3), SUMS_REFUSAL, "offtopic")
    forms, answer, kind = (_PLUS, a + b, "sum") if rng.random() < 0.5 else (_MINUS, a - b, "difference")
    text = forms[int(rng.integers(len(forms)))].format(a, b)
    roll = rng.random()
    if roll < 0.15:
        text = text[0].lower() + text[1:]
    elif roll < 0.3:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.15:
        text = text.rstrip("?.") or text
    elif text[-1] not in "?.=" and rng.random() < 0.3:
        text += str(rng.choice(["?", "."]))
    return Sum(text, str(answer), kind)
