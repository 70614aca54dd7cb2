"""POST /v1/completions: raw prompts, echoed and scored if asked."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from ....engine.request import Usage
from ....replica.protocol import Logprob, Piece, RawPrompt
from ...backend import Backend
from ...exchange import Answer, Events, Exchange
from ...generation import Generation, ModelInfo, Picture, Run
from ...metered import MeteredRun
from ...service import Service
from .errors import from_error, invalid, missing, read_body
from .form import DONE, Chunks, cost_of, event, headers, new_id, now, stop_reason, to_json, usage_of
from .logprobs import Offsets, completion_logprobs, prompt_logprobs
from .sampling import completion_params, with_defaults
from .wire import CompletionRequest

_decoder = msgspec.json.Decoder(CompletionRequest)
_MOST_PROMPTS = 1024


@dataclass(frozen=True, slots=True)
class Echo:
    """A prompt as it is shown: its text, and its tokens with their ids."""

    text: str = ""
    tokens: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()


@dataclass(slots=True)
class Completion:
    """One request under way: a run and an echo for each prompt."""

    request: CompletionRequest
    model: Backend
    info: ModelInfo
    limit: int
    runs: list[MeteredRun]
    prompt_tokens: int | None
    echoes: list[Echo]
    params: list[str]
    id: str = field(default_factory=lambda: new_id("cmpl"))
    created: int = field(default_factory=now)

    @property
    def n(self) -> int:
        return self.request.n or 1


async def create(service: Service, exchange: Exchange, body: bytes) -> Answer | Events:
    """Answer a completion. Raises OpenAIError."""
    request = read_body(_decoder, body)
    prompts = _prompts(request)
    images = [f"images[{number}]" for number in range(len(request.images or []))]
    try:
        completion = await _begin(service, exchange, request, prompts, images)
    except Exception as error:
        raise from_error(error, images, "prompt") from error
    if request.stream:
        return Events(_stream(completion), lambda error: _failed(completion, error), headers(exchange))
    return Answer(to_json(await _whole(completion)), headers=headers(exchange))


def _prompts(request: CompletionRequest) -> list[RawPrompt]:
    prompt = request.prompt
    if prompt is None or prompt == []:
        raise missing("prompt")
    add_bos = request.add_special_tokens is not False
    if isinstance(prompt, str):
        return [RawPrompt(prompt, add_bos)]
    if isinstance(prompt[0], int):
        return [RawPrompt(_alike(prompt, int))]
    if len(prompt) > _MOST_PROMPTS:
        raise invalid("prompt", f"prompt holds {len(prompt)} prompts, the most is {_MOST_PROMPTS}.")
    if request.images and len(prompt) > 1:
        raise invalid("images", "images go with a single prompt.")
    return [RawPrompt(each, add_bos) for each in _alike(prompt, type(prompt[0]))]


def _alike(prompt: list[Any], kind: type) -> list[Any]:
    if not all(type(each) is kind for each in prompt):
        raise invalid("prompt", "prompt must be a text, texts, token ids, or lists of token ids, not a mixture.")
    return prompt


async def _begin(
    service: Service, exchange: Exchange, request: CompletionRequest, prompts: list[RawPrompt], images: list[str]
) -> Completion:
    model = service.router.find(request.model)
    params, limit = completion_params(request)  # what is wrong is told before a model is started
    pictures = await service.pictures(model, request.images or [], exchange.owner)
    info = await service.ready(model)
    if info.defaults:
        params, limit = completion_params(with_defaults(request, info.defaults))
    echoes = [Echo()] * len(prompts)
    if request.echo or request.return_token_ids:
        echoes = [await _shown(model, prompt, pictures) for prompt in prompts]
    generations = [
        Generation(exchange.request_id, prompt, params, pictures, request.priority or 0, "openai")
        for prompt in prompts
    ]
    runs: list[MeteredRun] = []
    try:
        for generation in generations:
            runs.append(await service.begin(model, generation, exchange, request.model or ""))
        admitted = [await run.admission() for run in runs]
    except BaseException:
        for run in runs:
            run.abort()
        raise
    counted = [each.prompt_tokens for each in admitted if each.prompt_tokens is not None]
    total = sum(counted) if len(counted) == len(admitted) else None
    return Completion(request, model, info, limit, runs, total, echoes, images)


async def _shown(model: Backend, prompt: RawPrompt, pictures: Sequence[Picture]) -> Echo:
    encoded = await model.encode(prompt, pictures)
    # The first token as a text begins with it: without the space that tokenizers put before a text.
    first = await model.decode(encoded.token_ids[:1])
    return Echo(encoded.text, (first, *encoded.tokens[1:]), tuple(encoded.token_ids))


def _failed(completion: Completion, error: Exception) -> bytes:
    return event(from_error(error, completion.params, "prompt").body()) + DONE


# ---- a whole answer -------------------------------------------------------------------------------------------------


async def _whole(completion: Completion) -> dict[str, Any]:
    choices: list[dict[str, Any]] = []
    usages: list[Usage] = []
    try:
        for number, run in enumerate(completion.runs):
            pieces: dict[int, list[Piece]] = {index: [] for index in range(completion.n)}
            async for step in run:
                for piece in step:
                    pieces[piece.index].append(piece)
            assert run.end is not None
            usages.append(_counted(completion, run.end.usage))
            choices += [_choice(completion, number, index, run, pieces[index]) for index in pieces]
    except Exception as error:
        raise from_error(error, completion.params, "prompt") from error
    finally:
        for run in completion.runs:
            run.abort()
    return {
        "id": completion.id,
        "object": "text_completion",
        "created": completion.created,
        "model": completion.model.name,
        "choices": choices,
        "usage": usage_of(usages, cost_of(completion.runs)),
        "system_fingerprint": completion.info.fingerprint,
    }


def _counted(completion: Completion, usage: Usage) -> Usage:
    """With max_tokens 0 the one token that the engine draws is nobody's."""
    return usage if completion.limit else replace(usage, completion_tokens=0)


def _choice(completion: Completion, number: int, index: int, run: Run, pieces: list[Piece]) -> dict[str, Any]:
    request, echo = completion.request, completion.echoes[number]
    kept = pieces if completion.limit else []
    text = (echo.text if request.echo else "") + "".join(piece.text for piece in kept)
    choice: dict[str, Any] = {
        "index": number * completion.n + index,
        "text": text,
        "logprobs": None,
        "finish_reason": pieces[-1].finish_reason if completion.limit else "length",
        "stop_reason": stop_reason(pieces[-1].stop_reason, pieces[-1].finish_reason),
    }
    scored = run.end.prompt_logprobs if run.end is not None else None
    if request.logprobs is not None:
        entries = [*(scored or [] if request.echo else []), *(entry for piece in kept for entry in piece.logprobs)]
        as_ids = bool(request.return_tokens_as_token_ids)
        choice["logprobs"] = completion_logprobs(entries, echo.tokens, Offsets(text), as_ids)
    if request.prompt_logprobs is not None:
        choice["prompt_logprobs"] = prompt_logprobs(scored or [])
    if request.return_token_ids:
        choice["prompt_token_ids"] = echo.ids
        choice["token_ids"] = [token for piece in kept for token in piece.token_ids]
    return choice


# ---- a stream -------------------------------------------------------------------------------------------------------


async def _stream(completion: Completion) -> AsyncGenerator[bytes]:
    """One prompt after the other; all of them are computed meanwhile."""
    same = {
        "id": completion.id,
        "object": "text_completion",
        "created": completion.created,
        "model": completion.model.name,
        "system_fingerprint": completion.info.fingerprint,
    }
    chunks = Chunks(same, completion.request.stream_options, completion.prompt_tokens)
    try:
        for number, run in enumerate(completion.runs):
            choices = [_Streamed(completion, number, index) for index in range(completion.n)]
            async for pieces in run:
                for piece in pieces:
                    tokens = len(piece.token_ids) if completion.limit else 0
                    yield chunks.chunk(choices[piece.index].push(piece), tokens)
    finally:
        for run in completion.runs:
            run.abort()
    usages = [_counted(completion, run.end.usage) for run in completion.runs if run.end is not None]
    yield chunks.end(usages, cost_of(completion.runs))


class _Streamed:
    """One choice on its way into a stream; its first chunk has the echoed prompt."""

    def __init__(self, completion: Completion, number: int, index: int) -> None:
        self._completion = completion
        self._echo = completion.echoes[number]
        self._index = number * completion.n + index
        self._offsets = Offsets()
        self._waiting: deque[Logprob] = deque()
        self._opened = False

    def push(self, piece: Piece) -> dict[str, Any]:
        """The choice in the chunk that `piece` becomes."""
        request, limit = self._completion.request, self._completion.limit
        first, self._opened = not self._opened, True
        text = (self._echo.text if first and request.echo else "") + (piece.text if limit else "")
        self._offsets.grow(text)
        logprobs = None
        if request.logprobs is not None and limit:
            as_ids = bool(request.return_tokens_as_token_ids)
            self._waiting += piece.logprobs
            logprobs = completion_logprobs(self._said(piece.finish_reason is not None), (), self._offsets, as_ids)
        finish = piece.finish_reason
        choice: dict[str, Any] = {
            "index": self._index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": finish if limit or finish is None else "length",
        }
        stopped_by = stop_reason(piece.stop_reason, finish)
        if stopped_by is not None:
            choice["stop_reason"] = stopped_by
        if request.return_token_ids:
            choice |= {"prompt_token_ids": self._echo.ids} if first else {}
            choice["token_ids"] = piece.token_ids if limit else []
        return choice

    def _said(self, last: bool) -> Iterator[Logprob]:
        """The entries of tokens whose text is there."""
        while self._waiting and (last or not self._offsets.waits(self._waiting[0].spelled)):
            yield self._waiting.popleft()
