"""Pictures are decoded once, ahead, within bounds, and a broken one harms nobody else."""

import threading
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from triptych.engine.errors import ImageError
from triptych.engine.imaging.pixels import Intake, PixelStore
from triptych.engine.request import ImageSpan, Prompt, Request


class Source:
    """Decodes named pictures; those named "broken" fail, and all wait for the gate."""

    def __init__(self) -> None:
        self.decoded: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def pixel_values(self, image):
        assert self.gate.wait(10)
        self.decoded.append(image.name)
        if image.name.startswith("broken"):
            raise ImageError(f"{image.name}: not an image")
        return np.zeros((1, 3, 2, 2), dtype=np.float32)


@dataclass
class Item:
    request: Request


def span(name: str, tiles: int = 1) -> ImageSpan:
    return ImageSpan(0, 4, tiles, name.encode(), SimpleNamespace(name=name))


def item(request_id: str, *spans: ImageSpan, priority: int = 0) -> Item:
    return Item(Request(request_id, Prompt((1, 2, 3, 4), spans), priority=priority))


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def store(source):
    store = PixelStore(source)
    yield store
    source.gate.set()
    store.close()


@pytest.fixture
def room(store):
    woken = threading.Condition()

    def wake():
        with woken:
            woken.notify_all()

    intake = Intake(store, wake, tile_capacity=4)

    def wait_for(count):
        ready = []
        with woken:
            assert woken.wait_for(lambda: ready.extend(intake.poll()) or len(ready) >= count, 10)
        return {item.request.request_id: error for item, error in ready}

    return SimpleNamespace(intake=intake, wait_for=wait_for)


def push(room, item):
    room.intake.push(item, item.request.prompt.spans)


def test_one_picture_in_many_requests_is_decoded_once(room, source, store):
    source.gate.clear()
    for number in range(3):
        push(room, item(f"r{number}", span("cat")))
    assert room.intake.poll() == []
    source.gate.set()
    assert room.wait_for(3) == {"r0": None, "r1": None, "r2": None}
    assert source.decoded == ["cat"]
    assert store.take(span("cat")).shape == (1, 3, 2, 2)
    assert store.tiles == 0


def test_a_broken_picture_ends_only_its_own_request(room):
    push(room, item("good", span("cat")))
    push(room, item("bad", span("broken"), span("dog")))
    errors = room.wait_for(2)
    assert errors["good"] is None
    assert str(errors["bad"]) == "broken: not an image"


def test_text_never_waits_behind_pictures(room, source):
    source.gate.clear()
    push(room, item("picture", span("cat")))
    push(room, item("text"))
    assert [ready.request.request_id for ready, _ in room.intake.poll()] == ["text"]


def test_decoding_ahead_is_bounded_until_pixels_are_taken(room, source, store):
    for number in range(6):
        push(room, item(f"r{number}", span(f"p{number}", tiles=2)))
    assert set(room.wait_for(2)) == {"r0", "r1"}
    assert store.tiles == 4
    assert len(room.intake) == 4
    store.take(span("p0", 2))
    assert set(room.wait_for(1)) == {"r2"}


def test_a_prompt_with_more_tiles_than_the_bound_still_starts(room):
    push(room, item("many", *(span(f"p{number}", tiles=3) for number in range(5))))
    assert room.wait_for(1) == {"many": None}


def test_lower_priority_values_are_decoded_first(room, source, store):
    push(room, item("first", span("a", 4)))
    room.wait_for(1)
    push(room, item("late", span("b", 4), priority=5))
    push(room, item("urgent", span("c", 4), priority=-1))
    assert room.intake.poll() == []
    store.take(span("a", 4))
    assert set(room.wait_for(1)) == {"urgent"}


def test_discarding_lets_go_of_pixels_wherever_the_request_is(room, source, store):
    push(room, item("ready", span("a")))
    room.wait_for(1)
    source.gate.clear()
    push(room, item("decoding", span("b")))
    push(room, item("shared", span("b")))
    push(room, item("waiting", span("c", tiles=9)))
    assert room.intake.poll() == []
    for request_id in ("ready", "decoding", "waiting", "unknown"):
        room.intake.discard(request_id)
    assert store.tiles == 1  # "shared" still wants b
    assert len(room.intake) == 1
    room.intake.discard("shared")
    assert store.tiles == 0
    assert len(room.intake) == 0


def test_taking_pixels_that_nobody_asked_for_decodes_them_now(source, store):
    store.take(span("late"))
    assert source.decoded == ["late"]
    with pytest.raises(ImageError, match="broken"):
        store.take(span("broken"))


def test_who_held_pixels_before_they_were_taken_cannot_release_those_of_another(room, source, store):
    """Features may be evicted after encoding: the same picture is then decoded anew for somebody else."""
    push(room, item("first", span("cat")))
    assert room.wait_for(1) == {"first": None}
    store.take(span("cat"))
    source.gate.clear()
    push(room, item("occupied", span("dog"), span("bird")))  # both workers, so that the next one has not begun
    push(room, item("second", span("cat")))
    assert room.intake.poll() == []
    room.intake.discard("first")
    assert store.tiles == 3
    source.gate.set()
    assert room.wait_for(2) == {"occupied": None, "second": None}


def test_pixels_can_start_only_when_there_is_room(room, store):
    push(room, item("first", span("a", 4)))
    assert room.intake.can_start
    room.wait_for(1)
    push(room, item("second", span("b", 4)))
    assert not room.intake.can_start
    store.take(span("a", 4))
    assert room.intake.can_start
    room.wait_for(1)
    assert not room.intake.can_start
