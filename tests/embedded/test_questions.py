"""Every question's answer is true of its scene."""

import numpy as np
import pytest

from triptych.embedded.world import REFUSAL, SUMS_REFUSAL, Numeral, Scene, Thing, caption, sample_objects, sums
from triptych.embedded.world import questions as ask
from triptych.embedded.world.offtopic import sample_offtopic

STAR = Thing("star", "blue", "small", 300.0, 100.0, 50.0, 0.0)
CIRCLE = Thing("circle", "red", "large", 100.0, 110.0, 100.0, 0.0)
CROSS = Thing("cross", "gray", "small", 310.0, 320.0, 60.0, 5.0)
PAIR = Scene(400, 400, (CIRCLE, STAR))
THREE = Scene(400, 400, (CIRCLE, STAR, CROSS))
NUMBER = Scene(400, 400, (), Numeral("407", "large", ((0, 0, 9, 9), (9, 0, 18, 9), (18, 0, 27, 9)), (1, 2, 3)))


def asked(asker, scene: Scene, count: int = 200) -> list[ask.Question]:
    rng = np.random.default_rng(0)
    return [question for question in (asker(rng, scene) for _ in range(count)) if question is not None]


def test_captions():
    assert caption(PAIR) == "a large red circle to the left of a small blue star"
    assert caption(Scene(400, 400, (STAR, CROSS))) == "a small blue star above a small gray cross"
    assert caption(THREE) == "a large red circle, a small blue star and a small gray cross"
    assert caption(Scene(400, 400, (CIRCLE,))) == "a large red circle"
    assert caption(NUMBER) == "the handwritten number 407"
    assert caption(Scene(300, 300)) == "an empty picture"


def test_colour_shape_and_size_answers_belong_to_the_named_object():
    for question in asked(ask.ask_color, PAIR):
        named = CIRCLE if "circle" in question.text or "large" in question.text or "big" in question.text else STAR
        assert question.answer == named.color
        assert named.color not in question.text
    for question in asked(ask.ask_shape, PAIR):
        assert question.answer in ("circle", "star")
        assert ("red" in question.text or "big" in question.text or "large" in question.text) == (
            question.answer == "circle"
        )
    assert {question.answer for question in asked(ask.ask_size, PAIR)} == {"small", "large"}


def test_people_write_colour_and_grey_too():
    texts = " ".join(question.text for question in asked(ask.ask_color, PAIR))
    assert "color" in texts
    assert "colour" in texts
    shapes = " ".join(question.text for question in asked(ask.ask_shape, THREE))
    assert "gray" in shapes
    assert "grey" in shapes


def test_an_ambiguous_name_is_never_asked_about():
    twins = Scene(400, 400, (STAR, Thing("star", "blue", "small", 100.0, 300.0, 50.0, 0.0)))
    for asker in (ask.ask_color, ask.ask_shape, ask.ask_size, ask.ask_beside, ask.ask_is, ask.ask_side):
        assert asked(asker, twins) == []


def test_counts():
    for question in asked(ask.ask_count, THREE):
        count = int(question.answer)
        if not any(word in question.text for word in ("small", "little", "tiny", "large", "big")) and not any(
            word in question.text.lower() for word in ("red", "blue", "gray", "grey", "circle", "star", "cross", "plus")
        ):
            assert count in (0, 3)
    answers = [question.answer for question in asked(ask.ask_count, THREE)]
    assert {"0", "1", "2", "3"} <= set(answers)


def test_existence_is_asked_evenly():
    answers = [question.answer for question in asked(ask.ask_exists, THREE, 400)]
    assert 0.35 < answers.count("yes") / len(answers) < 0.65


@pytest.mark.parametrize(
    ("words", "answer"),
    [("left of", "a large red circle"), ("below", "a small gray cross"), ("above", "nothing"), ("right of", "nothing")],
)
def test_what_lies_beside(words: str, answer: str):
    found = [
        question.answer
        for question in asked(ask.ask_beside, THREE, 600)
        if words in question.text and ("star" in question.text or "blue" in question.text)
    ]
    assert found
    assert set(found) == {answer}


def test_what_is_not_there():
    assert {question.answer for question in asked(ask.ask_missing, PAIR)} == {
        "there is no square", "there is no triangle", "there is no cross",
    }  # fmt: skip
    assert {question.answer for question in asked(ask.ask_number, PAIR)} == {ask.NO_NUMBER}
    assert {question.answer for question in asked(ask.ask_number, NUMBER)} == {"407"}
    assert "3" in {question.answer for question in asked(ask.ask_digits, NUMBER)}


def test_offtopic_requests_are_refused_and_varied():
    rng = np.random.default_rng(0)
    texts = {sample_offtopic(rng) for _ in range(300)}
    assert len(texts) > 200
    assert all(texts)
    assert {question.answer for question in asked(ask.ask_offtopic, PAIR)} == {REFUSAL}


def test_every_kind_of_question_comes_up():
    rng = np.random.default_rng(2)
    kinds = {ask.sample_question(rng, sample_objects(rng)).kind for _ in range(600)}
    assert kinds == {"color", "shape", "size", "count", "exists", "beside", "missing", "offtopic"}


def test_sums_are_right():
    for item in sums(0, 500, offtopic=0.1):
        if item.kind == "offtopic":
            assert item.answer == SUMS_REFUSAL
            continue
        found = [int(part) for part in "".join(c if c.isdigit() else " " for c in item.text).split()]
        assert len(found) == 2
        a, b = found
        right = {a + b} if item.kind == "sum" else {a - b, b - a}
        assert int(item.answer) in right
