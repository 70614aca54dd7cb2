"""What an upstream answers, as Pieces and an End."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from time import monotonic

import msgspec

from ...engine.request import SamplingParams, Timing, Usage
from ...replica.protocol import Logprob
from ..generation import End, Piece, UpstreamError, UpstreamUnavailableError
from .failure import FailedError, error_of, read_error
from .wire import Answer, Choice, Counts, Logprobs, PromptLogprobs, TopToken, answer_decoder

DONE = b"[DONE]"
# Of a token that an upstream did not number.
NO_ID = -1
# Why a text ended, in the words of servers that have others. A reason that nobody here knows counts as "stop": what is
# cut has known names.
_REASONS = {
    "stop": "stop", "length": "length", "content_filter": "content_filter", "max_tokens": "length",
    "model_length": "length",
}  # fmt: skip
_BROKEN = ("abort", "error")


class AnswerReader:
    """Reads the answer to one request, chunk by chunk or whole; `end` makes sure that it is complete.

    `model` is the served name, `key` the upstream's, `images` their places in the request: for errors.
    """

    def __init__(self, params: SamplingParams, model: str, key: str = "", images: Sequence[str] = ()) -> None:
        self._params = params
        self._model = model
        self._key = key
        self._images = images
        self._finished: set[int] = set()
        self._usage: Counts | None = None
        self._scored: list[Logprob | None] | None = None
        self._started = monotonic()
        self._first: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether anything of the text has come."""
        return self._first is not None

    def chunk(self, data: bytes) -> list[Piece]:
        """One event of a stream. Raises FailedError for an error in it, and for what is no event of such a stream."""
        answer = self._decode(data)
        return self._pieces(answer, answer.choices or [])

    def whole(self, data: bytes) -> list[Piece]:
        """A whole answer, of a request that asked for no stream or was answered so."""
        answer = self._decode(data)
        if answer.choices is None:
            raise self._broken("an answer without choices")
        # Of a chat they stand beside the choices, of a completion in them.
        places: list[Answer | Choice] = [answer, *answer.choices]
        for place in places:
            if place.prompt_logprobs is not None and self._scored is None:
                self._scored = prompt_logprobs(place.prompt_logprobs, place.prompt_token_ids or ())
        return self._pieces(answer, answer.choices)

    def _decode(self, data: bytes) -> Answer:
        try:
            answer = answer_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._broken("what is not an answer") from None
        if (failure := answer.failure) is not None:
            told = read_error({"error": failure}, 200, self._key)
            raise FailedError(error_of(told, self._model, self._images), told.passing)
        return answer

    def _pieces(self, answer: Answer, choices: list[Choice]) -> list[Piece]:
        if answer.usage is not None and answer.usage.completion_tokens is not None:
            self._usage = answer.usage
        pieces = [piece for choice in choices if (piece := self._piece(choice)) is not None]
        if pieces and self._first is None:
            self._first = monotonic()
        return pieces

    def _piece(self, choice: Choice) -> Piece | None:
        """None for a choice that says nothing: a role, a pause, an echo of the end."""
        if not 0 <= choice.index < self._params.n:
            raise self._broken(f"a choice {choice.index} of {self._params.n}")
        said = choice.delta or choice.message
        text = choice.text if said is None else said.content or said.refusal
        ids = choice.token_ids or []
        logprobs = _read_logprobs(choice.logprobs, ids) if self._params.logprobs is not None else []
        reason = self._reason(choice)
        if not (text or ids or logprobs or reason) or (choice.index in self._finished and not text):
            return None
        if reason is not None:
            self._finished.add(choice.index)
        return Piece(choice.index, text or "", ids, logprobs, reason, self._stopped_by(choice))

    def _reason(self, choice: Choice) -> str | None:
        given = choice.finish_reason
        if given in _BROKEN:
            message = f"the server that answers for {self._model} ended the answer with {given}"
            raise FailedError(UpstreamUnavailableError(message), True)
        return _REASONS.get(given, "stop") if given else None

    def _stopped_by(self, choice: Choice) -> str | int | None:
        """The stop string or token that was asked for. SGLang also tells of a model's own end token."""
        stopped_by = choice.matched_stop if choice.stop_reason is None else choice.stop_reason
        asked = isinstance(stopped_by, str) or stopped_by in self._params.stop_token_ids
        return stopped_by if asked and choice.finish_reason else None

    def end(self) -> End:
        """The end of an answer that is complete. Raises FailedError when it is not, or when nothing was counted."""
        missing = self._params.n - len(self._finished)
        if missing:
            message = f"the server that answers for {self._model} broke off its answer"
            raise FailedError(UpstreamUnavailableError(message), True)
        if self._usage is None:
            # Chunks are not tokens, and the prompt is not known here at all: nothing true could be said of the usage.
            raise self._broken("no usage, though stream_options.include_usage asks for it")
        now = monotonic()
        timing = Timing(0.0, (self._first or now) - self._started, now - self._started)
        return End("", _usage(self._usage), timing, self._scored)

    def _broken(self, what: str) -> FailedError:
        return FailedError(UpstreamError(f"the server that answers for {self._model} sent {what}"))


def _usage(counts: Counts) -> Usage:
    details = counts.prompt_tokens_details
    cached = image = 0
    if details is not None:
        cached = details.cached_tokens or 0
        image = details.image_tokens or (details.multimodal_tokens or {}).get("image") or 0
    return Usage(counts.prompt_tokens or 0, cached, image, counts.completion_tokens or 0)


# ---- log-probabilities ----------------------------------------------------------------------------------------------


def _read_logprobs(logprobs: Logprobs | None, ids: list[int]) -> list[Logprob]:
    """Entries with the tokens' ids where they were told; fewer entries than ids leave out the token that only ends."""
    if logprobs is None:
        return []
    entries = list(_of_chat(logprobs) if logprobs.content is not None else _of_completion(logprobs))
    numbered = ids if len(ids) >= len(entries) else []
    return [
        Logprob(NO_ID if token is None else token, logprob, _rank(spelled, top), spelled, top)
        for (spelled, logprob, top), token in zip_longest(entries, numbered[: len(entries)])
    ]


Entry = tuple[bytes, float, list[tuple[int, float, bytes]]]


def _of_chat(logprobs: Logprobs) -> Iterator[Entry]:
    for token in logprobs.content or ():
        top = [(NO_ID, other.logprob, _spelled(other)) for other in token.top_logprobs or ()]
        yield _spelled(token), token.logprob, top


def _spelled(token: TopToken) -> bytes:
    """A token's true bytes; a list of numbers that are none is taken for none."""
    try:
        return bytes(token.bytes) if token.bytes is not None else token.token.encode()
    except ValueError:
        return token.token.encode()


def _of_completion(logprobs: Logprobs) -> Iterator[Entry]:
    columns = zip_longest(logprobs.tokens or (), logprobs.token_logprobs or (), logprobs.top_logprobs or ())
    for token, logprob, likeliest in columns:
        if token is not None and logprob is not None:
            top = [(NO_ID, value, name.encode()) for name, value in (likeliest or {}).items()]
            yield token.encode(), logprob, top


def _rank(spelled: bytes, top: list[tuple[int, float, bytes]]) -> int:
    """Among the likeliest ones, from 1; 0 for one that is not among them: its rank is not told."""
    return next((number for number, other in enumerate(top, 1) if other[2] == spelled), 0)


def prompt_logprobs(told: PromptLogprobs, ids: Sequence[int]) -> list[Logprob | None]:
    """vLLM's list: per token of the prompt the token and the likeliest ones, by id; `ids` are the prompt's own, if they
    were told: without them the first one of each is taken for the token itself, as vLLM has it.
    """
    scored: list[Logprob | None] = []
    for place, entry in enumerate(told):
        if not entry:
            scored.append(None)
            continue
        own = ids[place] if place < len(ids) and ids[place] in entry else next(iter(entry))
        top = [
            (token, each.logprob, (each.decoded_token or "").encode())
            for token, each in sorted(entry.items(), key=lambda item: item[1].rank or 0)
        ]
        spelled = (entry[own].decoded_token or "").encode()
        scored.append(Logprob(own, entry[own].logprob, entry[own].rank or 0, spelled, top))
    return scored
