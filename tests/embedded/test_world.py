"""The drawn world keeps its own rules: sizes, places, colours, numbers, determinism."""

import math

import numpy as np
import pytest

from triptych.embedded import world
from triptych.embedded.world import digits
from triptych.embedded.world.draw import RENDERERS, sample_color
from triptych.embedded.world.scene import CLEAR_AXIS, DIGIT_HEIGHT, EXTENT, clear_direction


def scenes(count: int, seed: int = 0) -> list[world.Scene]:
    rng = np.random.default_rng(seed)
    return [world.sample_objects(rng) for _ in range(count)]


def numbers(count: int, size: str) -> list[world.Scene]:
    rng = np.random.default_rng(1)
    return [world.sample_number(rng, digits.labels(), digits.held_out(), size) for _ in range(count)]


def test_objects_keep_to_the_rules():
    for scene in scenes(300):
        assert 1 <= len(scene.things) <= 4
        assert scene.shorter >= 100
        assert max(scene.width, scene.height) <= 1201
        assert max(scene.width, scene.height) / scene.shorter <= 3.05
        for thing in scene.things:
            low, high = EXTENT[thing.size]
            assert low <= thing.extent / scene.shorter <= high
            assert abs(thing.tilt) <= 15
            assert thing.reach <= thing.x <= scene.width - thing.reach
            assert thing.reach <= thing.y <= scene.height - thing.reach


def test_objects_do_not_overlap():
    for scene in scenes(300):
        for index, a in enumerate(scene.things):
            for b in scene.things[:index]:
                apart = max(abs(a.x - b.x), abs(a.y - b.y))
                assert apart > a.reach + b.reach


def test_two_objects_have_a_clear_relation():
    pairs = [scene.things for scene in scenes(300) if len(scene.things) == 2]
    assert len(pairs) > 50
    for a, b in pairs:
        dx, dy = abs(a.x - b.x), abs(a.y - b.y)
        assert min(dx, dy) <= CLEAR_AXIS * max(dx, dy)
        assert clear_direction(a, b) in ({"left", "right"} if dx > dy else {"above", "below"})


@pytest.mark.parametrize("size", ["small", "large"])
def test_numbers_keep_to_the_rules(size: str):
    low, high = DIGIT_HEIGHT[size]
    lengths = set()
    for scene in numbers(200, size):
        assert scene.numeral is not None
        lengths.add(len(scene.numeral.text))
        for (left, top, right, bottom), glyph, digit in zip(
            scene.numeral.boxes, scene.numeral.glyphs, scene.numeral.text, strict=True
        ):
            assert low - 1e-6 <= (bottom - top) / scene.shorter <= high + 1e-6
            assert left >= 0
            assert top >= 0
            assert right <= scene.width + 1
            assert bottom <= scene.height + 1
            assert digits.labels()[glyph] == int(digit)
            assert glyph in digits.held_out()
    assert lengths == {1, 2, 3, 4}


def test_the_last_fifth_of_the_digits_is_held_out():
    trained, held_out = digits.trained(), digits.held_out()
    assert len(digits.labels()) == len(digits.glyphs()) == 1797
    assert list(trained) + list(held_out) == list(range(1797))
    assert math.isclose(len(held_out) / 1797, 0.2, abs_tol=0.001)
    assert set(digits.labels()[held_out]) == set(range(10))


def test_the_same_seed_draws_the_same_picture():
    pictures = []
    for _ in range(2):
        rng = np.random.default_rng(5)
        scene = world.sample_objects(rng)
        pictures.append((scene, np.asarray(world.draw(scene, world.sample_style(rng)))))
    assert pictures[0][0] == pictures[1][0]
    assert (pictures[0][1] == pictures[1][1]).all()


@pytest.mark.parametrize("renderer", sorted(RENDERERS))
def test_every_renderer_fills_objects_with_their_colour(renderer: str):
    thing = world.Thing("square", "blue", "large", 60.0, 40.0, 30.0, 10.0)
    style = world.Style(renderer, (250, 250, 240), 0.0, None, 0.0, 0.0, None, (0, 0, 0), "bicubic", 3)
    image = world.draw(world.Scene(120, 90, (thing,)), style)
    assert image.size == (120, 90)
    red, green, blue = image.getpixel((60, 40))
    assert blue > red + 60
    assert blue > green + 30
    assert image.getpixel((5, 5)) == (250, 250, 240)
    assert image.getpixel((85, 40)) == (250, 250, 240)


def test_a_number_is_dark_on_light():
    scene = numbers(1, "large")[0]
    style = world.Style("polygon", (255, 255, 255), 0.0, None, 0.0, 0.0, None, (10, 10, 10), "bicubic", 3)
    gray = np.asarray(world.draw(scene, style).convert("L"))
    assert scene.numeral is not None
    left, top, right, bottom = (round(value) for value in scene.numeral.boxes[0])
    assert gray[top:bottom, left:right].min() < 60
    outside = gray.copy()
    for box in scene.numeral.boxes:
        left, top, right, bottom = (round(value) for value in box)
        outside[top - 1 : bottom + 2, left - 1 : right + 2] = 255
    assert outside.min() == 255


def test_colours_stay_apart():
    rng = np.random.default_rng(0)
    means = {name: np.mean([sample_color(rng, name) for _ in range(200)], axis=0) for name in world.COLORS}
    for name in world.COLORS:
        for _ in range(100):
            color = np.array(sample_color(rng, name))
            nearest = min(means, key=lambda other: np.abs(means[other] - color).sum())
            if {name, nearest} not in ({"red", "orange"}, {"orange", "yellow"}, {"green", "gray"}, {"blue", "gray"}):
                assert nearest == name or {name, nearest} <= {"purple", "gray", "blue", "green", "black"}


def test_marking_accepts_any_order_of_three_but_nothing_else():
    scene = next(scene for scene in scenes(100) if len(scene.things) == 3)
    truth = world.caption(scene)
    names = truth.replace(" and ", ", ").split(", ")
    assert world.same_caption(f"{names[2]}, {names[0]} and {names[1]}", scene)
    assert not world.same_caption(f"{names[2]} and {names[0]}", scene)
    pair = next(scene for scene in scenes(100) if len(scene.things) == 2)
    assert world.same_caption(world.caption(pair), pair)
    assert not world.same_caption(world.caption(pair).replace("to the left of", "above"), pair) or (
        "above" in world.caption(pair)
    )


def test_exams_are_repeatable_and_of_every_category():
    first, second = (list(world.exams(3, 60)) for _ in range(2))
    assert [exam.question for exam in first] == [exam.question for exam in second]
    assert {"caption", "number large", "number small"} < {exam.category for exam in first}
    truth = {id(exam.image): exam.question.answer for exam in first}
    assert all(exam.passed(truth[id(exam.image)]) for exam in first)


def test_evaluate_marks_an_oracle_and_a_parrot():
    answers = iter([exam.question.answer for exam in world.exams(4, 40)])
    marks = world.evaluate(lambda asked: [next(answers) for _ in asked], 4, 40)
    assert set(marks.values()) == {1.0}
    assert world.evaluate(lambda asked: ["red"] * len(asked), 4, 40)["caption"] == 0.0
    exact = world.evaluate_sums(lambda asked: [item.answer for item in world.sums(9, 50, 0.1)], 9, 50)
    assert exact["sums"] == 1.0
