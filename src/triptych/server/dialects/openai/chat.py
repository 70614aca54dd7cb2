"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ....replica.protocol import Admitted, ChatPrompt, Piece
from ...backend import Backend
from ...exchange import Answer, Events, Exchange
from ...generation import Generation, ModelInfo
from ...metered import MeteredRun
from ...service import Service
from .content import Content, read_messages
from .errors import from_error, invalid, read_body, unsupported
from .form import DONE, Chunks, event, headers, new_id, now, stop_reason, to_json, usage_of
from .logprobs import chat_logprobs, prompt_logprobs, shown_logprobs
from .rendered import unwrapped
from .sampling import chat_params, with_defaults
from .tools import Tools
from .wire import ChatRequest

_decoder = msgspec.json.Decoder(ChatRequest)


@dataclass(slots=True)
class Chat:
    """One request under way, with all that its answer needs. `begun` is the text that the answer repeats, `prompt_ids`
    are there if they were asked for.
    """

    request: ChatRequest
    model: Backend
    info: ModelInfo
    run: MeteredRun
    admitted: Admitted
    tools: Tools
    params: list[str]
    begun: str
    prompt_ids: list[int] | None
    id: str = field(default_factory=lambda: new_id("chatcmpl"))
    created: int = field(default_factory=now)

    @property
    def more(self) -> dict[str, Any]:
        return {} if self.prompt_ids is None else {"prompt_token_ids": self.prompt_ids}


async def create(service: Service, exchange: Exchange, body: bytes) -> Answer | Events:
    """Answer a chat completion. Raises OpenAIError."""
    request = read_body(_decoder, body)
    _refuse(request)
    content = read_messages(
        request.messages, interleave=bool(request.interleave), continued=bool(request.continue_final_message)
    )
    try:
        chat = await _begin(service, exchange, request, content)
    except Exception as error:
        raise from_error(error, content.params) from error
    if request.stream:
        return Events(_stream(chat), lambda error: _failed(chat, error), headers(exchange))
    return Answer(to_json(await _whole(chat)), headers=headers(exchange))


def _refuse(request: ChatRequest) -> None:
    if request.audio is not None or "audio" in (request.modalities or []):
        raise unsupported("modalities", "cannot be honoured: these models answer in text.")
    if request.web_search_options is not None:
        raise unsupported("web_search_options", "cannot be honoured: nothing is searched.")
    if request.continue_final_message and request.add_generation_prompt:
        raise invalid("continue_final_message", "continue_final_message and add_generation_prompt exclude each other.")
    if request.add_generation_prompt is False and not request.continue_final_message:
        raise unsupported("add_generation_prompt", "false is built with continue_final_message only.")


async def _begin(service: Service, exchange: Exchange, request: ChatRequest, content: Content) -> Chat:
    model = service.router.find(request.model)
    tools = Tools.of(request)
    params = chat_params(request, tools.constraint)  # what is wrong is told before a model is started
    tools.show(content)
    pictures = await service.pictures(model, content.urls, exchange.owner, content.details)
    info = await service.ready(model)
    if info.defaults:
        params = chat_params(with_defaults(request, info.defaults), tools.constraint)
    content.messages = await unwrapped(service, model, content.messages)
    prompt = ChatPrompt(content.messages)
    prompt_ids = None
    if request.return_token_ids:
        prompt_ids = (await model.encode(prompt, pictures)).token_ids
    generation = Generation(exchange.request_id, prompt, params, pictures, request.priority or 0, "openai")
    run = await service.begin(model, generation, exchange, request.model or "")
    try:
        admitted = await run.admission()
    except BaseException:
        run.abort()
        raise
    begun = content.messages[-1]["content"] if request.echo and request.continue_final_message else ""
    return Chat(request, model, info, run, admitted, tools, content.params, begun, prompt_ids)


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
    end = chat.run.end
    assert end is not None
    scored = {} if end.prompt_logprobs is None else {"prompt_logprobs": prompt_logprobs(end.prompt_logprobs)}
    return {
        "id": chat.id,
        "object": "chat.completion",
        "created": chat.created,
        "model": chat.model.name,
        "choices": [_choice(chat, index, pieces) for index, pieces in choices.items()],
        "usage": usage_of([end.usage], chat.run.cost_nano),
        "system_fingerprint": chat.info.fingerprint,
        "service_tier": None,
        **scored,
        **chat.more,
    }


def _choice(chat: Chat, index: int, pieces: list[Piece]) -> dict[str, Any]:
    text = chat.begun + "".join(piece.text for piece in pieces)
    last = pieces[-1]
    finish = last.finish_reason
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    calls = chat.tools.calls(text) if finish == "stop" else None
    if calls is not None:
        message |= {"content": None, "tool_calls": calls}
        finish = "tool_calls"
    choice: dict[str, Any] = {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": finish,
        "stop_reason": stop_reason(last.stop_reason, last.finish_reason),
    }
    if chat.request.logprobs:
        choice["logprobs"] = _logprobs(chat, pieces)
    if chat.request.return_token_ids:
        choice["token_ids"] = [token for piece in pieces for token in piece.token_ids]
    return choice


def _logprobs(chat: Chat, pieces: list[Piece]) -> dict[str, Any]:
    entries = [entry for piece in pieces for entry in shown_logprobs(piece)]
    return {"content": chat_logprobs(entries, bool(chat.request.return_tokens_as_token_ids)), "refusal": None}


# ---- a stream -------------------------------------------------------------------------------------------------------


async def _stream(chat: Chat) -> AsyncGenerator[bytes]:
    same = {
        "id": chat.id,
        "object": "chat.completion.chunk",
        "created": chat.created,
        "model": chat.model.name,
        "system_fingerprint": chat.info.fingerprint,
    }
    chunks = Chunks(same, chat.request.stream_options, chat.admitted.prompt_tokens)
    choices = [_Streamed(chat, index) for index in range(chat.request.n or 1)]
    more, tokens = chat.more, 0
    try:
        async for pieces in chat.run:
            for piece in pieces:
                tokens += len(piece.token_ids)
                for choice in choices[piece.index].push(piece):
                    yield chunks.chunk(choice, tokens, more)
                    more, tokens = {}, 0
    finally:
        chat.run.abort()
    assert chat.run.end is not None
    yield chunks.end([chat.run.end.usage], chat.run.cost_nano)


class _Streamed:
    """One choice on its way into a stream: the role, the text as it comes, and a last chunk that says why it ends."""

    def __init__(self, chat: Chat, index: int) -> None:
        self._chat = chat
        self._index = index
        self._holder = chat.tools.holder()
        self._opened = False

    def push(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """The choice in each of the chunks that `piece` becomes."""
        request, text = self._chat.request, piece.text
        if not self._opened:
            self._opened = True
            text = self._chat.begun + text
            yield self._step({"role": "assistant", "content": ""})
        logprobs = _logprobs(self._chat, [piece]) if request.logprobs else None
        delta = self._holder.push(text, piece.finish_reason)
        if delta is None and (request.return_token_ids or (logprobs and logprobs["content"])):
            delta = {"content": ""}
        if delta is not None:
            step = self._step(delta, logprobs)
            yield {**step, "token_ids": piece.token_ids} if request.return_token_ids else step
        if piece.finish_reason is not None:
            called = self._holder.called and piece.finish_reason == "stop"
            step = self._step({}, None, "tool_calls" if called else piece.finish_reason)
            stopped_by = stop_reason(piece.stop_reason, piece.finish_reason)
            yield step if stopped_by is None else {**step, "stop_reason": stopped_by}

    def _step(
        self, delta: dict[str, Any], logprobs: dict[str, Any] | None = None, finish: str | None = None
    ) -> dict[str, Any]:
        return {"index": self._index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
