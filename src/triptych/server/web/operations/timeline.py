"""Where the time of a prediction went: its turn, the start of its model, its prompt, its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...store.predictions import PredictionRecord

# Bars are drawn on so many units; what is shorter than `_THIN` of them would not be seen.
WIDTH = 1000
_THIN = 4

_WORDS = {
    "queue": ("Queue", "waited for its turn"),
    "cold": ("Cold start", "waited while its model started"),
    "prefill": ("Prompt", "pictures and prompt were read, up to the first token (prefill)"),
    "decode": ("Answer", "tokens were written, after the first one (decode)"),
}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in microseconds since 1970, which may be `going_on`. `kind` is a key of `_WORDS`."""

    kind: str
    start_us: int
    end_us: int
    going_on: bool = False

    @property
    def name(self) -> str:
        return _WORDS[self.kind][0]

    @property
    def explained(self) -> str:
        return _WORDS[self.kind][1]

    @property
    def seconds(self) -> float:
        return (self.end_us - self.start_us) / 1e6


@dataclass(frozen=True, slots=True)
class Bar:
    """A span, or anything else that took time, with its place on `WIDTH` units."""

    name: str
    kind: str
    explained: str
    seconds: float
    x: int
    width: int
    going_on: bool = False


def spans(record: PredictionRecord, now_us: int) -> list[Span]:
    """The stretches of a prediction in order, up to its end or now.

    Its times may be of several servers' clocks, and contradict each other: no stretch is shorter than nothing.
    """
    begin = record.created_us
    end = max(record.completed_us or now_us, begin)
    started = min(record.started_us or end, end)
    marks = [begin]
    for mark in (started - record.cold_us, started, record.first_token_us or end, end):
        marks.append(max(marks[-1], min(mark, end)))
    found = [
        Span(kind, since, until)
        for kind, since, until in zip(_WORDS, marks[:-1], marks[1:], strict=True)
        if until > since
    ]
    if found and not record.ended:
        last = found[-1]
        found[-1] = Span(last.kind, last.start_us, last.end_us, going_on=True)
    return found


def bars(found: Sequence[Span]) -> list[Bar]:
    """Spans one after the other on one scale; each can be seen, however short."""
    whole = max(1, sum(span.end_us - span.start_us for span in found))
    made, at = [], 0
    for span in found:
        width = max(_THIN, round(WIDTH * (span.end_us - span.start_us) / whole))
        x = min(round(WIDTH * at / whole), WIDTH - width)
        made.append(Bar(span.name, span.kind, span.explained, span.seconds, x, width, span.going_on))
        at += span.end_us - span.start_us
    return made
