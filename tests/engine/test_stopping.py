from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.engine.sampling.stopping import StopMatcher

texts = st.text(alphabet="abc\n", max_size=40)
stop_lists = st.lists(st.text(alphabet="abc\n", min_size=1, max_size=5), max_size=4)


def naive(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The definition: read character by character until the text ends with a stop string."""
    for end in range(len(text) + 1):
        matching = [stop for stop in stops if text[:end].endswith(stop)]
        if matching:
            longest = max(matching, key=len)
            return text[: end - len(longest)], longest
    return text, None


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


@settings(max_examples=500)
@given(texts, stop_lists, st.lists(st.integers(0, 40), max_size=12))
def test_any_cut_of_the_text_gives_the_naive_result(text: str, stops: list[str], places: list[int]) -> None:
    matcher = StopMatcher(stops)
    shown, matched = "", None
    for piece in cut(text, places):
        emitted, matched = matcher.push(piece)
        shown += emitted
        if matched is not None:
            break
        # What is held back is exactly the longest end that could still become a stop string.
        read = text[: len(shown) + len(matcher._held)]
        assert shown + matcher._held == read
        held = [n for n in range(1, len(read) + 1) if any(s != read[-n:] and s.startswith(read[-n:]) for s in stops)]
        assert len(matcher._held) == max(held, default=0)
    shown += matcher.flush()
    assert (shown, matched) == naive(text, stops)


@settings(max_examples=200)
@given(texts, stop_lists)
def test_character_by_character_equals_all_at_once(text: str, stops: list[str]) -> None:
    whole = StopMatcher(stops)
    once = whole.push(text)[0] + whole.flush()
    single = StopMatcher(stops)
    assert "".join(single.push(char)[0] for char in text) + single.flush() == once
    assert single.matched == whole.matched


@pytest.mark.parametrize(
    ("stops", "pieces", "shown", "matched"),
    [
        (["USER:"], ["Hello US", "ER", ": more"], ["Hello ", "", ""], "USER:"),
        (["</s>"], ["a<", "b</", "s", "x"], ["a", "<b", "", "</sx"], None),
        (["ab", "xabc"], ["xab", "c"], ["x"], "ab"),
        (["b", "ab"], ["xab"], ["x"], "ab"),
        (["aab"], ["aaab"], ["a"], "aab"),
        (["\n\n", "\nEnd"], ["line\n", "next\n", "\nEnd"], ["line", "\nnext", ""], "\n\n"),
        ([], ["anything", ""], ["anything", ""], None),
    ],
)
def test_examples(stops: list[str], pieces: list[str], shown: list[str], matched: str | None) -> None:
    matcher = StopMatcher(stops)
    emitted = []
    for piece in pieces:
        emitted.append(matcher.push(piece)[0])
        if matcher.matched:
            break
    assert emitted == shown
    assert matcher.matched == matched


def test_nothing_follows_a_match() -> None:
    matcher = StopMatcher(["."])
    assert matcher.push("one. two") == ("one", ".")
    assert matcher.push(" three") == ("", ".")
    assert matcher.flush() == ""


def test_flush_gives_back_what_was_held() -> None:
    matcher = StopMatcher(["stop"])
    assert matcher.push("please sto") == ("please ", None)
    assert matcher.flush() == "sto"
    assert matcher.flush() == ""
