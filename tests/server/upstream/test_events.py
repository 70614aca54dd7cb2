"""Events are read whatever way their bytes come."""

import json

import pytest

from triptych.server.upstream.events import EventReader, EventTooLargeError

TEXT = 'data: {"a": "käse 🧀"}\n\n: keep-alive\n\nevent: message\ndata: one\ndata: two\nid: 7\n\ndata:[DONE]\n\n'
EVENTS = ['{"a": "käse 🧀"}', "one\ntwo", "[DONE]"]


def read(*parts):
    reader = EventReader()
    found = [event for part in parts for event in reader.feed(part)]
    rest = reader.rest()
    return [event.decode() for event in [*found, *([rest] if rest is not None else [])]]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_whole_however_they_are_cut(line_end, size):
    data = TEXT.replace("\n", line_end).encode()
    assert read(*(data[begin : begin + size] for begin in range(0, len(data), size))) == EVENTS


def test_a_character_may_be_cut():
    data = b'data: {"text": "' + "é".encode() + b'"}\n\n'
    middle = data.index("é".encode()) + 1
    [event] = read(data[:middle], data[middle:])
    assert json.loads(event) == {"text": "é"}


def test_the_last_event_needs_no_blank_line():
    assert read(b"data: a\n\ndata: b") == ["a", "b"]
    assert read(b"data: a\n\ndata: b\n") == ["a", "b"]
    assert read(b"data: a\n\n: no event") == ["a"]


def test_an_event_without_data_is_none():
    assert read(b"event: ping\n\n: x\n\n\n\ndata: a\n\n") == ["a"]


def test_an_event_that_does_not_end_is_refused():
    reader = EventReader(most_bytes=100)
    assert list(reader.feed(b"data: " + b"x" * 50)) == []
    with pytest.raises(EventTooLargeError, match="more than 100 bytes"):
        list(reader.feed(b"x" * 50))
    reader = EventReader(most_bytes=100)
    with pytest.raises(EventTooLargeError):  # lines that do not become an event
        list(reader.feed(b"data: xxxxxxx\n" * 20))
