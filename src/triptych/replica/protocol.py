"""What crosses between a server and a replica: frames of msgpack behind a length of four bytes. No torch.

A connection begins with `Hello` from the server and `Welcome` from the replica; `Phase` frames follow while the model
loads, then `Ready` or `LoadFailed`. Everything else belongs to a request, by the id that the server chose:

    Image* Submit ──► Admitted ──► Tokens* ──► End        Abort at any time; its End still comes, with the usage so far
    Encode ──► Encoded      Decode ──► Decoded      Ask ──► Report

The bytes of a picture cross once per digest: the server sends `Image` before the first request that shows it, and again
when the replica answers `Missing` because it has dropped them meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..engine import errors
from ..engine.request import Detail, SamplingParams, Timing, Usage

# 2: pictures are shown with a detail. A replica that does not know of it would show all of them whole.
VERSION = 2
# The largest picture that is taken anywhere, as it comes, and room for a long prompt beside it.
MOST_BYTES = 128 << 20
_LENGTH = 4


class Frame(msgspec.Struct, tag_field="is", omit_defaults=True):
    """One message; `is` tells which."""


# ---- from the server ------------------------------------------------------------------------------------------------


class Hello(Frame, tag="hello"):
    version: int = VERSION


class Image(Frame, tag="image"):
    """The encoded file of a picture; `digest` is what `Submit.images` calls it by."""

    digest: bytes
    data: bytes


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """A picture where a prompt shows it: its digest, and how much of it the model sees."""

    digest: bytes
    detail: Detail = "high"


class ChatPrompt(msgspec.Struct, frozen=True, tag="chat", omit_defaults=True):
    """A conversation as `Engine.chat_prompt` takes it: roles system, user and assistant; parts `{"type": "image"}`
    stand for the request's images in order. A final assistant message is continued.
    """

    messages: list[dict[str, Any]]


class RawPrompt(msgspec.Struct, frozen=True, tag="raw", omit_defaults=True):
    """A text that is continued as it stands, or token ids. With `add_bos` false a text gets no beginning token."""

    text: str | list[int]
    add_bos: bool = True


Prompt = ChatPrompt | RawPrompt


class Submit(Frame, tag="submit"):
    """`images` are in the order of their places. Lower `priority` goes first."""

    id: str
    prompt: Prompt
    images: list[Shown] = []
    params: SamplingParams = SamplingParams()
    priority: int = 0


class Abort(Frame, tag="abort"):
    id: str


class Encode(Frame, tag="encode"):
    """Asks for the token ids of a prompt, pictures expanded, without generating anything."""

    id: str
    prompt: Prompt
    images: list[Shown] = []


class Decode(Frame, tag="decode"):
    id: str
    token_ids: list[int]


class Ask(Frame, tag="ask"):
    """Asks for a `Report`; whoever answers in time is alive."""

    id: str


# ---- from the replica -----------------------------------------------------------------------------------------------


class Welcome(Frame, tag="welcome"):
    version: int
    pid: int


class Phase(Frame, tag="phase"):
    """How far the cold start is: `process` (interpreter and libraries), `files` (what a hub had to deliver), `load`
    (weights mapped or read), `first_token` (of a trial). `seconds` is what the phase has taken so far; while `files`
    and `load` go on there are frames with `done` of `total` bytes; in the last one of a phase they are equal.
    """

    name: str
    seconds: float
    done: int = 1
    total: int = 1


class ModelInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What runs in the replica; bytes are of memory on its device. `tokenizer` are its special tokens by name, and the
    chat template; `defaults` the sampling that its authors recommend. Of a model that another server answers for,
    numbers are 0 and texts empty where it does not tell them.
    """

    model: str
    architecture: str
    precision: str
    device: str
    max_context: int
    vision: bool
    weight_bytes: int
    kv_tokens: int
    vocab: int
    can_chat: bool = True
    fingerprint: str = ""
    tokenizer: dict[str, str | None] = {}
    defaults: dict[str, int | float] = {}


class Ready(Frame, tag="ready"):
    info: ModelInfo


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error that crossed: `kind` is its class in `triptych.engine.errors`, or "" for a bug."""

    message: str
    kind: str = ""
    parameter: str = ""


class LoadFailed(Frame, tag="load_failed"):
    error: Failure


class Missing(Frame, tag="missing"):
    """The pictures with these digests are not here (any more): send them and the request again."""

    id: str
    digests: list[bytes]


class Admitted(Frame, tag="admitted"):
    """The request is in the engine's queue: its prompt is built and counted. A replica always tells `prompt_tokens`;
    None is for whoever answers in its place and counts later.
    """

    id: str
    prompt_tokens: int | None
    image_tokens: int


class Logprob(msgspec.Struct, frozen=True, array_like=True):
    """One token with its natural log-probability, its rank, its true bytes, and the likeliest tokens with theirs."""

    token_id: int
    logprob: float
    rank: int
    spelled: bytes
    top: list[tuple[int, float, bytes]] = []


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """What a step added to one choice."""

    index: int
    text: str
    token_ids: list[int]
    logprobs: list[Logprob] = []
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class Tokens(Frame, tag="tokens"):
    """All that one step added to a request."""

    id: str
    pieces: list[Piece]


class End(Frame, tag="end"):
    """The request is over: exact usage, whatever happened, and the error if it failed."""

    id: str
    usage: Usage
    timing: Timing = Timing()
    prompt_logprobs: list[Logprob | None] | None = None
    error: Failure | None = None


class Encoded(Frame, tag="encoded"):
    id: str
    token_ids: list[int] = []
    tokens: list[str] = []
    text: str = ""
    image_tokens: int = 0
    error: Failure | None = None


class Decoded(Frame, tag="decoded"):
    id: str
    text: str = ""
    error: Failure | None = None


class Report(Frame, tag="report"):
    """Gauges and totals since the start, by name; `unfinished` requests are waiting or running."""

    id: str
    unfinished: int
    values: dict[str, float] = {}


FromServer = Hello | Image | Submit | Abort | Encode | Decode | Ask
FromReplica = Welcome | Phase | Ready | LoadFailed | Missing | Admitted | Tokens | End | Encoded | Decoded | Report


class ProtocolError(Exception):
    """The other side sent something that is no frame of this protocol."""


_encoder = msgspec.msgpack.Encoder()


def packed(frame: Frame) -> bytes:
    """A frame as it crosses: its length, then the frame."""
    body = _encoder.encode(frame)
    return len(body).to_bytes(_LENGTH, "big") + body


class Unpacker:
    """Bytes as they arrive, to whole frames of `kinds`."""

    def __init__(self, kinds: Any, most_bytes: int = MOST_BYTES) -> None:
        self._decoder = msgspec.msgpack.Decoder(kinds)
        self._most = most_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The frames that `data` completes. Raises ProtocolError, after which the connection is of no use."""
        held = self._held
        held += data
        at = 0
        while len(held) - at >= _LENGTH:
            size = int.from_bytes(held[at : at + _LENGTH], "big")
            if size > self._most:
                raise ProtocolError(f"a frame of {size} bytes, the most is {self._most}")
            end = at + _LENGTH + size
            if len(held) < end:
                break
            try:
                frame = self._decoder.decode(memoryview(held)[at + _LENGTH : end])
            except (msgspec.DecodeError, errors.TriptychError) as error:
                raise ProtocolError(f"not a frame of this protocol: {error}") from None
            at = end
            yield frame
        del held[:at]


def failure_of(error: BaseException) -> Failure:
    """How an error crosses: ours with class and message, anything else as a bug without its details."""
    if isinstance(error, errors.TriptychError):
        return Failure(str(error), type(error).__name__, getattr(error, "name", ""))
    return Failure(f"unexpected {type(error).__name__} in the engine; the replica's log has the details")


def error_of(failure: Failure) -> Exception:
    """What `failure_of` made, as an error again; a bug becomes InternalError."""
    kind = getattr(errors, failure.kind, None) if failure.kind else None
    if kind is None:
        return errors.InternalError(failure.message)
    if issubclass(kind, errors.ParameterError):
        return kind(failure.message, failure.parameter)
    return kind(failure.message)
