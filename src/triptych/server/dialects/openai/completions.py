"""POST /v1/completions: raw prompts, echoed and scored if asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from ....engine.request import Usage
from ....replica.protocol import Encoded, Piece, RawPrompt
from ...exchange import Answer, Events, Exchange
from ...generation import Generation, ModelInfo, Run
from ...served import ServedModel
from ...service import Service
from .errors import OpenAIError, from_error, invalid, missing, wrong_json
from .form import DONE, event, new_id, now, stop_reason, to_json, usage_of
from .logprobs import completion_logprobs, shown_logprobs
from .sampling import completion_params, with_defaults
from .wire import CompletionRequest

_decoder = msgspec.json.Decoder(CompletionRequest)
_MOST_PROMPTS = 1024


@dataclass(slots=True)
class Completion:
    """One request under way: a run for each prompt. `echoed` are the prompts' texts and tokens if they are shown."""

    request: CompletionRequest
    model: ServedModel
    info: ModelInfo
    limit: int
    runs: list[Run]
    echoed: list[Encoded]
    params: list[str]
    id: str = field(default_factory=lambda: new_id("cmpl"))
    created: int = field(default_factory=now)

    @property
    def n(self) -> int:
        return self.request.n or 1


async def create(service: Service, exchange: Exchange, body: bytes) -> Answer | Events:
    """Answer a completion. Raises OpenAIError."""
    try:
        request = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise wrong_json(error) from None
    prompts = _prompts(request)
    images = [f"images[{number}]" for number in range(len(request.images or []))]
    try:
        completion = await _begin(service, exchange, request, prompts, images)
    except OpenAIError:
        raise
    except Exception as error:
        raise from_error(error, images, "prompt") from error
    if request.stream:
        return Events(_stream(completion), lambda error: event(from_error(error, images, "prompt").body()) + DONE)
    return Answer(to_json(await _whole(completion)))


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
    pictures = await service.pictures(model, request.images or [])
    info = await service.ready(model)
    params, limit = completion_params(with_defaults(request, info.defaults))
    echoed: list[Encoded] = []
    if request.echo:
        client = await model.client()
        echoed = [await client.encode(prompt, pictures) for prompt in prompts]
    generations = [
        Generation(exchange.request_id, prompt, params, pictures, request.priority or 0) for prompt in prompts
    ]
    runs = [service.begin(model, generation) for generation in generations]
    try:
        for run in runs:
            await run.admission()
    except BaseException:
        for run in runs:
            run.abort()
        raise
    return Completion(request, model, info, limit, runs, echoed, images)


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
        "usage": usage_of(usages),
        "system_fingerprint": completion.info.fingerprint,
    }


def _counted(completion: Completion, usage: Usage) -> Usage:
    """With max_tokens 0 the one token that the engine draws is nobody's."""
    return usage if completion.limit else replace(usage, completion_tokens=0)


def _choice(completion: Completion, number: int, index: int, run: Run, pieces: list[Piece]) -> dict[str, Any]:
    request = completion.request
    kept = pieces if completion.limit else []
    text = "".join(piece.text for piece in kept)
    prompt_text, prompt_tokens = _echo(completion, number)
    choice: dict[str, Any] = {
        "index": number * completion.n + index,
        "text": prompt_text + text,
        "logprobs": None,
        "finish_reason": pieces[-1].finish_reason if completion.limit else "length",
        "stop_reason": stop_reason(pieces[-1].stop_reason, pieces[-1].finish_reason),
    }
    if request.logprobs is not None:
        entries = [entry for piece in kept for entry in piece.logprobs]
        scored = list(run.end.prompt_logprobs or []) if run.end is not None and request.echo else []
        choice["logprobs"] = completion_logprobs(
            [*scored, *entries], prompt_tokens, 0, bool(request.return_tokens_as_token_ids)
        )
    return choice


def _echo(completion: Completion, number: int) -> tuple[str, list[str]]:
    if not completion.echoed:
        return "", []
    return completion.echoed[number].text, completion.echoed[number].tokens


# ---- a stream -------------------------------------------------------------------------------------------------------


async def _stream(completion: Completion) -> AsyncIterator[bytes]:
    """One prompt after the other; all of them are computed meanwhile."""
    options = completion.request.stream_options
    include = bool(options and options.include_usage)
    same = {
        "id": completion.id,
        "object": "text_completion",
        "created": completion.created,
        "model": completion.model.name,
        "system_fingerprint": completion.info.fingerprint,
    }
    head = b"data: " + to_json(same)[:-1] + b',"choices":'
    tail = b',"usage":null}\n\n' if include else b"}\n\n"
    try:
        for number, run in enumerate(completion.runs):
            opened: set[int] = set()
            async for pieces in run:
                for piece in pieces:
                    yield head + to_json([_chunk(completion, number, piece, piece.index not in opened)]) + tail
                    opened.add(piece.index)
    finally:
        for run in completion.runs:
            run.abort()
    if include:
        usages = [_counted(completion, run.end.usage) for run in completion.runs if run.end is not None]
        yield head + b"[]" + b',"usage":' + to_json(usage_of(usages)) + b"}\n\n"
    yield DONE


def _chunk(completion: Completion, number: int, piece: Piece, first: bool) -> dict[str, Any]:
    """What a step added to one choice; the first one carries the echoed prompt."""
    echo = _echo(completion, number)[0] if first else ""
    as_ids = bool(completion.request.return_tokens_as_token_ids)
    shown = shown_logprobs(piece)
    asked = completion.request.logprobs is not None and shown
    finish = piece.finish_reason
    return {
        "index": number * completion.n + piece.index,
        "text": echo + (piece.text if completion.limit else ""),
        "logprobs": completion_logprobs(shown, [], 0, as_ids) if asked else None,
        "finish_reason": finish if completion.limit or finish is None else "length",
    }
