from __future__ import annotations

import pytest
from PIL import Image

from triptych.conversation import Shown, image_list, take_apart
from triptych.engine.errors import PromptError

IMAGE = {"type": "image"}
TEXT = {"type": "text", "text": "What is this?"}


def test_a_question_is_a_user_message():
    assert take_apart("Hi") == ([{"role": "user", "content": "Hi"}], [])
    assert take_apart("Hi", "a.png") == ([{"role": "user", "content": "Hi"}], [Shown("a.png")])


def test_images_inside_messages_are_taken_out_in_order():
    messages = [
        {"role": "user", "content": [{"type": "image", "image": "a.png"}, TEXT]},
        {"role": "assistant", "content": "A star."},
        {"role": "user", "content": [TEXT, {"type": "image_url", "image_url": {"url": "data:,"}},
                                     {"type": "image_url", "image_url": "http://x/y"}]},
    ]  # fmt: skip
    plain, shown = take_apart(messages)
    assert shown == [Shown("a.png"), Shown("data:,"), Shown("http://x/y")]
    assert plain[0]["content"] == [IMAGE, TEXT]
    assert plain[2]["content"] == [TEXT, IMAGE, IMAGE]
    assert messages[0]["content"][0] == {"type": "image", "image": "a.png"}


def test_images_given_apart_fill_the_empty_places():
    messages = [{"role": "user", "content": [IMAGE, {"type": "image", "image": "b.png"}, IMAGE]}]
    assert take_apart(messages, ["a.png", "c.png"])[1] == [Shown("a.png"), Shown("b.png"), Shown("c.png")]
    for images in (None, ["a.png"], ["a.png"] * 3):
        with pytest.raises(PromptError, match="2 image parts without an image but"):
            take_apart(messages, images)


def test_an_image_part_says_how_much_of_it_is_seen():
    parts = [
        {"type": "image", "detail": "low"}, {"type": "image", "image": "b", "detail": "high"},
        {"type": "image_url", "image_url": {"url": "c", "detail": "low"}}, {"type": "image_url", "image_url": "d"},
        {"type": "image_url", "image_url": {"url": "e"}, "detail": "low"},
        {"type": "image_url", "image_url": {"url": "f", "detail": "auto"}, "detail": "low"},
        {"type": "image", "image": "g", "detail": ["low"]},
    ]  # fmt: skip
    plain, shown = take_apart([{"role": "user", "content": parts}], "a")
    assert shown == [
        Shown("a", "low"), Shown("b"), Shown("c", "low"), Shown("d"), Shown("e", "low"), Shown("f"), Shown("g"),
    ]  # fmt: skip
    assert plain[0]["content"] == [IMAGE] * 7


def test_what_is_not_about_images_is_left_to_the_prompt_builder():
    odd = [{"role": "king", "content": 3}, "nonsense"]
    assert take_apart(odd) == (odd, [])


def test_one_image_or_several():
    picture = Image.new("RGB", (1, 1))
    assert image_list(None) == []
    assert image_list(picture) == [picture]
    assert image_list((b"x", "y")) == [b"x", "y"]
