"""What a caller asks for and what comes back: sampling parameters, requests, outputs. No tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .errors import ParameterError

if TYPE_CHECKING:
    from .imaging.images import ImageInput

FinishReason = Literal["stop", "length", "abort", "error"]
ConstraintKind = Literal["json_schema", "json_object", "regex", "choice"]
# How much of a picture is seen: all that the model can see, or its coarsest view where the model has several.
Detail = Literal["high", "low"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """The form the generated text must have.

    `value` is a JSON schema (dict or JSON text) for `json_schema`, ignored for `json_object`, a pattern for
    `regex`, and a list of strings for `choice`.
    """

    kind: ConstraintKind
    value: Any = None


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen. The defaults are greedy decoding.

    `temperature` 0 is greedy; `top_k` 0, `top_p` 1 and `min_p` 0 are off. `max_tokens` None means "until the
    context is full". `logprobs` and `prompt_logprobs` are the number of alternatives to report beside the
    token itself (0 reports the token alone, None nothing). A `seed` makes the draws independent of what
    else is in the batch (the logits are too, up to the rounding of batched products); without one a fresh seed is
    drawn. Raises `ParameterError` naming the field.
    """

    max_tokens: int | None = 256
    min_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    n: int = 1
    constraint: Constraint | None = None

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            _check_number(name, getattr(self, name), low, high)
        for name, least, most in _INTEGER_RANGES:
            _check_integer(name, getattr(self, name), least, most)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ParameterError(
                f"min_tokens ({self.min_tokens}) must not exceed max_tokens ({self.max_tokens})", "min_tokens"
            )
        if self.repetition_penalty <= 0:
            raise ParameterError(f"repetition_penalty must be above 0, not {self.repetition_penalty}",
                                 "repetition_penalty")
        if self.top_p <= 0:
            raise ParameterError(f"top_p must be above 0 and at most 1, not {self.top_p}", "top_p")
        if isinstance(self.stop, str) or not all(isinstance(text, str) and text for text in self.stop):
            raise ParameterError("stop must be a sequence of non-empty strings", "stop")
        for token, bias in self.logit_bias.items():
            _check_integer("logit_bias key", token, 0, None, field_name="logit_bias")
            _check_number("logit_bias", bias, -100.0, 100.0)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0.0, 100.0),
    ("top_p", 0.0, 1.0),
    ("min_p", 0.0, 1.0),
    ("repetition_penalty", 0.0, 100.0),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
)
_INTEGER_RANGES: tuple[tuple[str, int | None, int | None], ...] = (
    ("max_tokens", 1, None),
    ("min_tokens", 0, None),
    ("top_k", 0, None),
    ("seed", None, None),
    ("logprobs", 0, 20),
    ("prompt_logprobs", 0, 20),
    ("n", 1, 128),
)
_OPTIONAL = frozenset({"max_tokens", "seed", "logprobs", "prompt_logprobs"})


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ParameterError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}", name)


def _check_integer(
    name: str, value: object, low: int | None, high: int | None, field_name: str | None = None
) -> None:
    if value is None and name in _OPTIONAL:
        return
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or (low is not None and value < low) or (high is not None and value > high):  # type: ignore[operator]
        bounds = f" from {low} to {high}" if high is not None else f" of at least {low}" if low is not None else ""
        raise ParameterError(f"{name} must be a whole number{bounds}, not {value!r}", field_name or name)


def detail_of(word: object) -> Detail:
    """What a caller's `detail` means, in OpenAI's words: `low`; everything else (`auto`, `high`, `original`, words that
    are new or wrong, none at all) is the whole picture.
    """
    return "low" if word == "low" else "high"


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """The run of image tokens of one image inside a prompt.

    `offset` and `length` are in tokens of the expanded prompt, `tiles` is the number of vision-tower inputs the
    image is cut into. `digest` (16 bytes or more) covers the image's content *and* everything that decides its
    features: detail, preprocessing version and options.
    """

    offset: int
    length: int
    tiles: int
    digest: bytes
    image: ImageInput

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids with every image token expanded into its run, and where the runs are.

    `continues` says that the generated text carries on from the prompt's own (a raw prompt, a begun answer), so
    that its leading space belongs to it.
    """

    token_ids: tuple[int, ...]
    spans: tuple[ImageSpan, ...] = ()
    text: str = ""
    continues: bool = False

    @property
    def image_tokens(self) -> int:
        return sum(span.length for span in self.spans)


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to be continued `params.n` times. Lower `priority` values are admitted first."""

    request_id: str
    prompt: Prompt
    params: SamplingParams = SamplingParams()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token with its log-probability (natural log, before temperature and penalties) and the alternatives."""

    token_id: int
    logprob: float
    rank: int
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Exact token counts of one request, as computed by the engine.

    `prompt_tokens` counts the expanded prompt once; of one that ended before its first token, what was computed of it.
    `image_tokens` are those of it that are image features, `cached_tokens` those whose KV came from the prefix cache,
    `completion_tokens` all generated tokens of all `n` choices.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    image_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step added to one choice of a request.

    `text` may be empty while a character or a possible stop string is incomplete; text once sent is never taken
    back. `finish_reason` and `stop_reason` (the stop string or token id that ended the text) are set on the last
    delta of the choice.
    """

    request_id: str
    index: int
    token_ids: tuple[int, ...] = ()
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds spent by one request: waiting in the queue, until its first token, and in all."""

    queued: float = 0.0
    first_token: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a request: exact usage, prompt log-probabilities if asked for, an error if it failed."""

    request_id: str
    usage: Usage
    timing: Timing = Timing()
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    error: Exception | None = None


Event = Delta | Finished
