"""What an upstream sends as Pieces, and when it counts as complete."""

import json

import pytest
from scripted_upstream import chunk, usage

from triptych.engine.errors import ContextOverflowError, ImageError, ParameterError
from triptych.engine.request import SamplingParams, Usage
from triptych.server.generation import Piece, UpstreamError, UpstreamUnavailableError
from triptych.server.upstream.answer import AnswerReader
from triptych.server.upstream.failure import FailedError

STOP = chunk(None, "stop")


def reader(images=(), **params):
    return AnswerReader(SamplingParams(**params), "here", "sk-secret", images)


def read(*chunks, **params):
    made = reader(**params)
    pieces = [piece for each in chunks for piece in made.chunk(json.dumps(each).encode())]
    return pieces, made


def token(text, logprob=-0.5, bytes=None, top=()):
    return {"token": text, "logprob": logprob, "bytes": bytes, "top_logprobs": list(top)}


# ---- pieces ---------------------------------------------------------------------------------------------------------


def test_a_chat_becomes_pieces_and_an_end():
    pieces, made = read(chunk(""), chunk("4"), chunk("2", "stop", stop_reason=None), usage(7, 2))
    assert pieces == [Piece(0, "4", []), Piece(0, "2", [], [], "stop")]
    end = made.end()
    assert end.usage == Usage(7, 0, 0, 2)
    assert 0 <= end.timing.first_token <= end.timing.total


def test_what_says_nothing_is_no_piece():
    empty = {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": ""}]}
    pieces, _ = read(empty, {"choices": None}, {}, chunk("a"), STOP, chunk(""))
    assert pieces == [Piece(0, "a", []), Piece(0, "", [], [], "stop")]


def test_a_completion_has_text():
    pieces, _ = read({"choices": [{"index": 0, "text": "once", "finish_reason": "length"}]})
    assert pieces == [Piece(0, "once", [], [], "length")]


def test_choices_are_told_apart():
    both = {"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]}
    pieces, made = read(both, chunk(None, "stop", 1), chunk(None, "length", 0), usage(), n=2)
    assert [(piece.index, piece.text, piece.finish_reason) for piece in pieces] == [
        (1, "b", None), (0, "a", None), (1, "", "stop"), (0, "", "length"),
    ]  # fmt: skip
    made.end()


def test_token_ids_are_kept():
    pieces, _ = read(chunk("4", token_ids=[7]), chunk("", token_ids=[8]), chunk("2", "stop", token_ids=[9, 2]))
    assert [piece.token_ids for piece in pieces] == [[7], [8], [9, 2]]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("model_length", "length"),
        ("tool_calls", "stop"), ("eos", "stop"),
    ],
)  # fmt: skip
def test_why_a_text_ended(told, reason):
    assert read(chunk("a", told))[0][0].finish_reason == reason


@pytest.mark.parametrize("told", ["abort", "error"])
def test_an_answer_that_was_broken_off_there_is_a_failure(told):
    with pytest.raises(FailedError) as caught:
        read(chunk("a", told))
    assert isinstance(caught.value.error, UpstreamUnavailableError)


@pytest.mark.parametrize(
    ("more", "stopped_by"),
    [
        ({"stop_reason": "END"}, "END"), ({"stop_reason": 5}, 5), ({"matched_stop": "END"}, "END"),
        ({"matched_stop": 2}, None), ({"matched_stop": 5}, 5), ({}, None),
    ],
)  # fmt: skip
def test_what_stopped_it(more, stopped_by):
    pieces, _ = read(chunk("a", "stop", **more), stop=("END",), stop_token_ids=(5,))
    assert pieces[0].stop_reason == stopped_by


# ---- usage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("details", "cached", "image"),
    [
        (None, 0, 0), ({"cached_tokens": 3}, 3, 0), ({"cached_tokens": None, "image_tokens": 576}, 0, 576),
        ({"multimodal_tokens": {"image": 576, "audio": None}}, 0, 576),
    ],
)  # fmt: skip
def test_usage_in_all_spellings(details, cached, image):
    _, made = read(chunk("a"), STOP, usage(600, 2, prompt_tokens_details=details))
    assert made.end().usage == Usage(600, cached, image, 2)


def test_of_usage_on_every_chunk_the_last_one_counts():
    counts = [{"prompt_tokens": 5, "completion_tokens": count} for count in (1, 2)]
    _, made = read({**chunk("a"), "usage": counts[0]}, {**STOP, "usage": counts[1]})
    assert made.end().usage.completion_tokens == 2


@pytest.mark.parametrize("last", [{}, {"choices": [], "usage": None}, {"choices": [], "usage": {}}])
def test_an_answer_that_was_not_counted_is_refused(last):
    _, made = read(chunk("a"), STOP, last)
    with pytest.raises(FailedError, match=r"sent no usage, though stream_options\.include_usage") as caught:
        made.end()
    assert isinstance(caught.value.error, UpstreamError)


@pytest.mark.parametrize("chunks", [(), (chunk("a"),), (chunk("a", "stop"),)])
def test_an_answer_without_its_end_is_refused(chunks):
    _, made = read(*chunks, usage(), n=2)
    with pytest.raises(FailedError, match="broke off its answer") as caught:
        made.end()
    assert caught.value.again


# ---- log-probabilities ----------------------------------------------------------------------------------------------


def test_logprobs_have_true_bytes():
    entry = token("\ufffd", -0.5, [0xC3], [token("\ufffd", -0.5, [0xC3]), token("x", -1.5)])
    pieces, _ = read(chunk("", token_ids=[7], logprobs={"content": [entry]}), logprobs=2)
    [found] = pieces[0].logprobs
    assert (found.token_id, found.logprob, found.rank, found.spelled) == (7, -0.5, 1, b"\xc3")
    assert [(logprob, spelled) for _, logprob, spelled in found.top] == [(-0.5, b"\xc3"), (-1.5, b"x")]


def test_logprobs_without_ids_and_out_of_the_top():
    pieces, _ = read(chunk("a", logprobs={"content": [token("a", -9.0, None, [token("b")])]}), logprobs=1)
    [found] = pieces[0].logprobs
    assert (found.token_id, found.rank, found.spelled) == (-1, 0, b"a")


def test_an_end_token_without_an_entry_leaves_the_others_in_place():
    entries = {"content": [token("4"), token("2")]}
    pieces, _ = read(chunk("42", "stop", token_ids=[7, 8, 2], logprobs=entries), logprobs=0)
    assert [entry.token_id for entry in pieces[0].logprobs] == [7, 8]


def test_logprobs_of_completions_are_lists():
    logprobs = {
        "tokens": ["on", "ce"], "token_logprobs": [-0.1, -0.2], "text_offset": [0, 2],
        "top_logprobs": [{"on": -0.1, "x": -3.0}, None],
    }  # fmt: skip
    pieces, _ = read({"choices": [{"index": 0, "text": "once", "logprobs": logprobs}]}, logprobs=2)
    first, second = pieces[0].logprobs
    assert (first.spelled, first.logprob, first.rank) == (b"on", -0.1, 1)
    assert first.top == [(-1, -0.1, b"on"), (-1, -3.0, b"x")]
    assert (second.spelled, second.top) == (b"ce", [])


def test_logprobs_that_nobody_asked_for_are_left_out():
    pieces, _ = read(chunk("a", logprobs={"content": [token("a")]}))
    assert pieces[0].logprobs == []


def test_prompt_logprobs_of_a_whole_answer():
    scored = [
        None,
        {"9": {"logprob": -4.0, "rank": 30, "decoded_token": "b"}, "8": {"logprob": -0.1, "rank": 1}},
    ]
    choice = {"index": 0, "text": "x", "finish_reason": "length", "prompt_logprobs": scored}
    for ids, own in (([1, 9], 9), ([1, 8], 8), (None, 9)):
        made = reader(prompt_logprobs=1)
        counts = {"prompt_tokens": 2, "completion_tokens": 1}
        made.whole(json.dumps({"choices": [{**choice, "prompt_token_ids": ids}], "usage": counts}).encode())
        first, second = made.end().prompt_logprobs
        assert first is None
        assert second.token_id == own
        assert [number for number, *_ in second.top] == [8, 9]
    assert (second.logprob, second.rank, second.spelled) == (-4.0, 30, b"b")


# ---- what is no answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"", b"<html>", b"{", b"[]", b'"text"', b'{"choices": 3}', b'{"choices": [{"index": 5}]}', b"\xff\xfe",
        b'{"choices": [{"delta": {"content": 3}}]}', b'{"choices": [{"index": -1, "delta": {"content": "a"}}]}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_chunk_is_an_error(data):
    with pytest.raises(FailedError) as caught:
        reader().chunk(data)
    assert isinstance(caught.value.error, UpstreamError)
    assert not caught.value.again


def test_a_whole_answer_has_choices():
    with pytest.raises(FailedError, match="an answer without choices"):
        reader().whole(b"{}")


@pytest.mark.parametrize(
    ("failure", "kind", "again"),
    [
        ({"error": {"message": "died", "type": "InternalServerError", "code": 500}}, UpstreamUnavailableError, True),
        ({"error": {"message": "slow down", "type": "rate_limit_error"}}, UpstreamUnavailableError, True),
        ({"error": "died"}, UpstreamUnavailableError, True),
        ({"error": {}}, UpstreamUnavailableError, True),
        ({"object": "error", "message": "died", "code": 500}, UpstreamUnavailableError, True),
        ({"message": "died", "code": 503}, UpstreamUnavailableError, True),
        ({"error": {"message": "bad n", "code": 400, "param": "n"}}, ParameterError, False),
        ({"error": {"message": "x", "code": "context_length_exceeded"}}, ContextOverflowError, False),
        ({"error": {"message": "x", "code": 400, "param": "messages[0].content[0].image_url"}}, ImageError, False),
    ],
)
def test_an_error_in_a_stream_is_an_error(failure, kind, again):
    made = reader(images=["messages[0].content[0]"])
    with pytest.raises(FailedError) as caught:
        made.chunk(json.dumps(failure).encode())
    assert isinstance(caught.value.error, kind)
    assert caught.value.again is again
