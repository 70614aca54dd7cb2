"""Conversations that are too long lose their oldest turns, and no more than they must."""

import pytest

from triptych.server.dialects.openai.content import Content
from triptych.server.dialects.openai.truncation import shorten

SYSTEM = {"role": "system", "content": "be brief"}
IMAGE = {"type": "image"}


def question(said: str, images: int = 0) -> dict:
    return {"role": "user", "content": [IMAGE] * images + [{"type": "text", "text": said}] if images else said}


def answer(said: str) -> dict:
    return {"role": "assistant", "content": said}


def content(*messages: dict) -> Content:
    images = sum(isinstance(message["content"], list) and len(message["content"]) - 1 for message in messages)
    return Content(list(messages), *([f"{letter}{n}" for n in range(images)] for letter in "upd"))


async def shortened(given: Content, most: int) -> tuple[Content, int]:
    """To at most so many messages; and how often that was asked."""
    asked = 0

    async def fits(shorter: Content) -> bool:
        nonlocal asked
        asked += 1
        return len(shorter.messages) <= most

    return await shorten(given, fits), asked


LONG = (SYSTEM, *(each for n in range(50) for each in (question(f"q{n}"), answer(f"a{n}"))), question("last"))


@pytest.mark.parametrize("most", [2, 3, 4, 5, 50, 99, 100, 101])
async def test_no_more_is_left_out_than_must_be(most):
    found, asked = await shortened(content(*LONG), most)
    kept = most - most % 2  # a question goes with its answer
    assert found.messages == [SYSTEM, *LONG[len(LONG) - kept + 1 :]]
    assert asked <= 7


async def test_what_fits_stays_as_it_is():
    given = content(*LONG)
    found, asked = await shortened(given, 102)
    assert (found, asked) == (given, 1)


async def test_without_a_system_message():
    found, _ = await shortened(content(*LONG[1:]), 3)
    assert found.messages == [question("q49"), answer("a49"), question("last")]


async def test_images_go_with_their_messages():
    given = content(question("a", 2), answer("b"), question("c", 1), answer("d"), question("e", 1))
    found, _ = await shortened(given, 3)
    assert (found.messages, found.urls, found.params) == (given.messages[2:], ["u2", "u3"], ["p2", "p3"])
    assert found.details == ["d2", "d3"]
    found, _ = await shortened(given, 1)
    assert (found.messages, found.urls) == (given.messages[4:], ["u3"])


async def test_the_system_message_and_the_last_question_are_left_if_not_even_they_fit():
    found, _ = await shortened(content(*LONG), 0)
    assert found.messages == [SYSTEM, question("last")]
    alone = content(question("only"))
    assert (await shortened(alone, 0))[0] == alone
