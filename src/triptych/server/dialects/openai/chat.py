"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ....replica.protocol import ChatPrompt, End, Piece
from ...exchange import Answer, Events, Exchange
from ...generation import Generation, ModelInfo, Run
from ...served import ServedModel
from ...service import Service
from .content import Content, read_messages
from .errors import OpenAIError, from_error, invalid, unsupported, wrong_json
from .form import DONE, event, new_id, now, stop_reason, to_json, usage_of
from .logprobs import NEVER, chat_logprobs, shown_logprobs, text
from .sampling import chat_params, with_defaults
from .tools import Tools
from .wire import ChatRequest

_decoder = msgspec.json.Decoder(ChatRequest)


@dataclass(slots=True)
class Chat:
    """One request under way, with all that its answer needs."""

    request: ChatRequest
    model: ServedModel
    info: ModelInfo
    run: Run
    tools: Tools
    params: list[str]
    id: str = field(default_factory=lambda: new_id("chatcmpl"))
    created: int = field(default_factory=now)


async def create(service: Service, exchange: Exchange, body: bytes) -> Answer | Events:
    """Answer a chat completion. Raises OpenAIError."""
    try:
        request = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise wrong_json(error) from None
    _refuse(request)
    content = read_messages(
        request.messages, interleave=bool(request.interleave), continued=bool(request.continue_final_message)
    )
    try:
        chat = await _begin(service, exchange, request, content)
    except OpenAIError:
        raise
    except Exception as error:
        raise from_error(error, content.params) from error
    if request.stream:
        return Events(_stream(chat), lambda error: _failed(chat, error))
    return Answer(to_json(await _whole(chat)), headers=_headers(chat))


def _refuse(request: ChatRequest) -> None:
    if request.audio is not None or "audio" in (request.modalities or []):
        raise unsupported("modalities", "cannot be honoured: these models answer in text.")
    if request.web_search_options is not None:
        raise unsupported("web_search_options", "cannot be honoured: nothing is searched.")
    if request.continue_final_message and request.add_generation_prompt:
        raise invalid("continue_final_message", "continue_final_message and add_generation_prompt exclude each other.")


async def _begin(service: Service, exchange: Exchange, request: ChatRequest, content: Content) -> Chat:
    model = service.router.find(request.model)
    tools = Tools.of(request)
    tools.show(content)
    pictures = await service.pictures(model, content.urls)
    info = await service.ready(model)
    params = chat_params(with_defaults(request, info.defaults), tools.constraint)
    generation = Generation(
        exchange.request_id, ChatPrompt(content.messages), params, pictures, request.priority or 0
    )
    run = service.begin(model, generation)
    try:
        await run.admission()
    except BaseException:
        run.abort()
        raise
    return Chat(request, model, info, run, tools, content.params)


def _headers(chat: Chat) -> dict[str, str]:
    return {"openai-version": "2020-10-01"}


def _failed(chat: Chat, error: Exception) -> bytes:
    return event(from_error(error, chat.params).body()) + DONE


# ---- a whole answer -------------------------------------------------------------------------------------------------


async def _whole(chat: Chat) -> dict[str, Any]:
    choices: dict[int, list[Piece]] = {index: [] for index in range(chat.request.n or 1)}
    try:
        async for pieces in chat.run:
            for piece in pieces:
                choices[piece.index].append(piece)
    except Exception as error:
        raise from_error(error, chat.params) from error
    finally:
        chat.run.abort()
    assert chat.run.end is not None
    return {
        "id": chat.id,
        "object": "chat.completion",
        "created": chat.created,
        "model": chat.model.name,
        "choices": [_choice(chat, index, pieces) for index, pieces in choices.items()],
        "usage": usage_of([chat.run.end.usage]),
        "system_fingerprint": chat.info.fingerprint,
        "service_tier": None,
        **_prompt_logprobs(chat.run.end),
    }


def _choice(chat: Chat, index: int, pieces: list[Piece]) -> dict[str, Any]:
    text = "".join(piece.text for piece in pieces)
    last = pieces[-1]
    finish = last.finish_reason
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    calls = chat.tools.calls(text) if finish == "stop" else None
    if calls is not None:
        message |= {"content": None, "tool_calls": calls}
        finish = "tool_calls"
    elif chat.request.echo and chat.request.continue_final_message:
        message["content"] = _begun(chat.request) + text
    choice: dict[str, Any] = {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": finish,
        "stop_reason": stop_reason(last.stop_reason, last.finish_reason),
    }
    if chat.request.logprobs:
        entries = [entry for piece in pieces for entry in shown_logprobs(piece)]
        choice["logprobs"] = {"content": chat_logprobs(entries), "refusal": None}
    if chat.request.return_token_ids:
        choice["token_ids"] = [token for piece in pieces for token in piece.token_ids]
    return choice


def _begun(request: ChatRequest) -> str:
    """The text of the last message, which is continued."""
    content = request.messages[-1].content if request.messages else None
    return content if isinstance(content, str) else ""


def _prompt_logprobs(end: End) -> dict[str, Any]:
    """vLLM's field: per prompt token, the token and its alternatives by id."""
    if end.prompt_logprobs is None:
        return {}
    listed: list[dict[str, Any] | None] = []
    for entry in end.prompt_logprobs:
        if entry is None:
            listed.append(None)
            continue
        found = {token: (logprob, rank + 1, spelled) for rank, (token, logprob, spelled) in enumerate(entry.top)}
        found[entry.token_id] = (entry.logprob, entry.rank, entry.spelled)
        listed.append({
            str(token): {"logprob": max(logprob, NEVER), "rank": rank, "decoded_token": text(spelled)}
            for token, (logprob, rank, spelled) in found.items()
        })  # fmt: skip
    return {"prompt_logprobs": listed}


# ---- a stream -------------------------------------------------------------------------------------------------------


async def _stream(chat: Chat) -> AsyncIterator[bytes]:
    options = chat.request.stream_options
    include = bool(options and options.include_usage)
    head, tail = _constant(chat, include)
    opened: set[int] = set()
    held = {index: chat.tools.holder() for index in range(chat.request.n or 1)}
    try:
        async for pieces in chat.run:
            for piece in pieces:
                for delta, logprobs, finish in _deltas(chat, piece, held[piece.index], piece.index not in opened):
                    opened.add(piece.index)
                    choice = {
                        "index": piece.index, "delta": delta, "logprobs": logprobs, "finish_reason": finish,
                        **({"stop_reason": stop_reason(piece.stop_reason, finish)} if finish else {}),
                        **({"token_ids": piece.token_ids} if chat.request.return_token_ids else {}),
                    }  # fmt: skip
                    yield head + to_json([choice]) + tail
    finally:
        chat.run.abort()
    if include and chat.run.end is not None:
        yield head + b"[]" + b',"usage":' + to_json(usage_of([chat.run.end.usage])) + b"}\n\n"
    yield DONE


def _constant(chat: Chat, include: bool) -> tuple[bytes, bytes]:
    """What every chunk begins and ends with, encoded once."""
    same = {
        "id": chat.id,
        "object": "chat.completion.chunk",
        "created": chat.created,
        "model": chat.model.name,
        "system_fingerprint": chat.info.fingerprint,
    }
    head = b"data: " + to_json(same)[:-1] + b',"choices":'
    return head, (b',"usage":null}\n\n' if include else b"}\n\n")


def _deltas(
    chat: Chat, piece: Piece, holder: Any, first: bool
) -> list[tuple[dict[str, Any], dict[str, Any] | None, str | None]]:
    """(delta, logprobs, finish reason) of the chunks that a piece becomes: the role with the first text, a last chunk
    without text.
    """
    logprobs = None
    if chat.request.logprobs:
        logprobs = {"content": chat_logprobs(shown_logprobs(piece)), "refusal": None}
    deltas = holder.push(piece.text, piece.finish_reason is not None)
    if not deltas and logprobs is not None and logprobs["content"]:
        deltas = [{"content": ""}]
    if first:
        deltas = [{"role": "assistant", "content": "", **(deltas[0] if deltas else {})}, *deltas[1:]]
    chunks: list[tuple[dict[str, Any], dict[str, Any] | None, str | None]] = []
    for number, delta in enumerate(deltas):
        chunks.append((delta, logprobs if number == 0 else None, None))
    if piece.finish_reason is not None:
        finish = "tool_calls" if holder.called and piece.finish_reason == "stop" else piece.finish_reason
        chunks.append(({}, None, finish))
    return chunks
