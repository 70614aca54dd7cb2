"""Frames survive the crossing in any pieces; what is no frame is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.engine import errors
from triptych.engine.request import Constraint, SamplingParams, Usage
from triptych.replica import protocol

FRAMES = [
    protocol.Hello(),
    protocol.Image(b"0123456789abcdef", b"\x00" * 3000),
    protocol.Submit(
        "7",
        protocol.ChatPrompt([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Grün?"}]}]),
        [protocol.Shown(b"0123456789abcdef"), protocol.Shown(b"0123456789abcdef", "low")],
        SamplingParams(
            temperature=0.5, seed=-3, stop=("\n",), logit_bias={5: -1.5}, constraint=Constraint("choice", ["a", "b"])
        ),
        priority=3,
    ),
    protocol.Submit("8", protocol.RawPrompt([1, 2, 3]), params=SamplingParams(max_tokens=None, logprobs=0)),
    protocol.Encode("9", protocol.RawPrompt("text", add_bos=False)),
    protocol.Abort("7"),
]
ANSWERS = [
    protocol.Welcome(1, 99),
    protocol.Tokens("7", [protocol.Piece(0, "é", [5], [protocol.Logprob(5, -0.5, 1, b"\xc3", [(5, -0.5, b"\xc3")])])]),
    protocol.Tokens("7", [protocol.Piece(1, "", [2], finish_reason="stop", stop_reason=2)]),
    protocol.End("7", Usage(10, 1, 4, 2), prompt_logprobs=[None, protocol.Logprob(1, -1.0, 2, b"a")]),
    protocol.End("8", Usage(), error=protocol.Failure("too long", "ContextOverflowError")),
]


@pytest.mark.parametrize(("frames", "kinds"), [(FRAMES, protocol.FromServer), (ANSWERS, protocol.FromReplica)])
@given(data=st.data())
def test_frames_arrive_whole_however_they_are_cut(frames, kinds, data):
    stream = b"".join(map(protocol.packed, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    unpacker, arrived = protocol.Unpacker(kinds), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        arrived += unpacker.feed(stream[start:end])
    assert arrived == frames


def test_a_frame_that_is_too_large_is_refused_before_it_is_read():
    with pytest.raises(protocol.ProtocolError, match="1000 bytes"):
        list(protocol.Unpacker(protocol.FromServer, most_bytes=100).feed((1000).to_bytes(4, "big")))


@pytest.mark.parametrize("body", [b"", b"\xff\xff", b"\x81\xa2is\xa4none", protocol.packed(protocol.Welcome(1, 2))[4:]])
def test_what_is_no_frame_is_refused(body):
    with pytest.raises(protocol.ProtocolError, match="not a frame"):
        list(protocol.Unpacker(protocol.FromServer).feed(len(body).to_bytes(4, "big") + body))


def test_sampling_parameters_are_checked_on_arrival():
    frame = protocol.packed(protocol.Submit("1", protocol.RawPrompt("x"), params=SamplingParams(top_p=0.5)))
    wrong = frame.replace(b"\xcb?\xe0" + bytes(6), b"\xcb@\x00" + bytes(6))  # 2.0 in place of 0.5
    with pytest.raises(protocol.ProtocolError, match="top_p must be"):
        list(protocol.Unpacker(protocol.FromServer).feed(wrong))


@pytest.mark.parametrize(
    "error",
    [errors.ParameterError("no", "n"), errors.ConstraintError("never", "regex"), errors.ContextOverflowError("9 > 8")],
)
def test_an_error_keeps_its_class_and_its_parameter(error):
    back = protocol.error_of(protocol.failure_of(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert getattr(back, "name", None) == getattr(error, "name", None)


def test_a_bug_crosses_without_its_details():
    back = protocol.error_of(protocol.failure_of(KeyError("/secret/path")))
    assert isinstance(back, errors.InternalError)
    assert "secret" not in str(back)


def test_a_detail_that_the_engine_does_not_know_is_refused():
    body = protocol.packed(protocol.Encode("1", protocol.RawPrompt("x"), [protocol.Shown(b"d", "low")]))
    with pytest.raises(protocol.ProtocolError, match="not a frame"):
        list(protocol.Unpacker(protocol.FromServer).feed(body.replace(b"low", b"lax")))
