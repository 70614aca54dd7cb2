"""POST /v1/responses and /v1/responses/input_tokens. Nothing is kept: a conversation is sent whole every time."""

from __future__ import annotations

from typing import Any

import msgspec

from ....engine.errors import ContextOverflowError
from ....replica.protocol import ChatPrompt
from ...backend import Backend
from ...exchange import Answer, Events, Exchange
from ...generation import Generation, Picture
from ...service import Service
from .content import Content
from .errors import OpenAIError, from_error, invalid, read_body, unsupported
from .form import headers, to_json
from .logprobs import chat_logprobs, shown_logprobs
from .rendered import unwrapped
from .response_events import ResponseStream
from .response_form import Response, call_item, message, new_id, status_of, text_part
from .response_input import read_input
from .sampling import response_params, with_defaults
from .tools import Tools
from .truncation import shorten
from .wire import ResponsesRequest

_decoder = msgspec.json.Decoder(ResponsesRequest)
_KEPT = ("previous_response_id", "conversation", "prompt")


async def create(service: Service, exchange: Exchange, body: bytes) -> Answer | Events:
    """Answer a response. Raises OpenAIError."""
    request = read_body(_decoder, body)
    _refuse(request)
    content, tools = read_input(request), Tools.flat(request)
    form = "tools" if tools.forced else "text.format.schema"
    try:
        response = await _begin(service, exchange, request, content, tools, form)
    except Exception as error:
        raise from_error(error, content.params, "input", form) from error
    if request.stream:
        stream = ResponseStream(response)
        return Events(stream.events(), stream.failed, headers(exchange))
    return Answer(to_json(await _whole(response)), headers=headers(exchange))


async def count(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """How many tokens a response's input has, pictures and tools with it. Raises OpenAIError."""
    request = read_body(_decoder, body)
    _refuse(request)
    content, tools = read_input(request), Tools.flat(request)
    try:
        model = service.router.find(request.model)
        response_params(request, tools.constraint)  # what is refused there is refused here
        prompt, pictures = await _prompt(service, exchange, model, request, content, tools)
        encoded = await model.encode(prompt, pictures)
    except Exception as error:
        raise from_error(error, content.params, "input") from error
    return Answer(to_json({"object": "response.input_tokens", "input_tokens": len(encoded.token_ids)}))


async def not_kept(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """What is said of every response of before."""
    id = exchange.scope["path_params"]["response_id"]
    raise OpenAIError(f"The response {id!r:.80} is not there: this server keeps none (store is always false).",
                      "response_id", "not_found", 404)  # fmt: skip


def _refuse(request: ResponsesRequest) -> None:
    for name in _KEPT:
        if getattr(request, name) is not None:
            raise unsupported(name, "cannot be honoured: nothing is kept here; send the whole conversation as input.")
    if request.background:
        raise unsupported("background", "cannot be honoured: nothing is kept here, so an answer must be waited for.")
    if request.truncation not in (None, "auto", "disabled"):
        raise invalid("truncation", f"truncation must be auto or disabled, not {request.truncation!r:.80}.")


async def _begin(
    service: Service, exchange: Exchange, request: ResponsesRequest, content: Content, tools: Tools, form: str
) -> Response:
    model = service.router.find(request.model)
    params = response_params(request, tools.constraint)  # what is wrong is told before a model is started
    prompt, pictures = await _prompt(service, exchange, model, request, content, tools)
    info = await service.ready(model)
    if info.defaults:
        request = with_defaults(request, info.defaults)
        params = response_params(request, tools.constraint)
    generation = Generation(exchange.request_id, prompt, params, pictures, request.priority or 0, "openai")
    run = await service.begin(model, generation, exchange, request.model or "")
    try:
        await run.admission()
    except BaseException:
        run.abort()
        raise
    return Response(request, model, run, tools, content.params, form)


async def _prompt(
    service: Service, exchange: Exchange, model: Backend, request: ResponsesRequest, content: Content, tools: Tools
) -> tuple[ChatPrompt, tuple[Picture, ...]]:
    """What the model sees, with its pictures. `content` becomes it: shown the tools, and shortened if that was asked
    for.
    """
    tools.show(content)
    pictures = await service.pictures(model, content.urls, exchange.owner, content.details)
    content.messages = await unwrapped(service, model, content.messages)
    if request.truncation != "auto":
        return ChatPrompt(content.messages), pictures
    info = await service.ready(model)

    def left(shorter: Content) -> tuple[Picture, ...]:
        return pictures[len(pictures) - len(shorter.urls) :]

    async def fits(shorter: Content) -> bool:
        try:
            encoded = await model.encode(ChatPrompt(shorter.messages), left(shorter))
        except ContextOverflowError:
            return False
        return not info.max_context or len(encoded.token_ids) < info.max_context

    shorter = await shorten(content, fits)
    content.messages, content.urls = shorter.messages, shorter.urls
    content.params, content.details = shorter.params, shorter.details
    return ChatPrompt(content.messages), left(content)


async def _whole(response: Response) -> dict[str, Any]:
    pieces = []
    try:
        async for step in response.run:
            pieces += step
    except Exception as error:
        raise from_error(error, response.params, "input", response.form) from error
    finally:
        response.run.abort()
    end = response.run.end
    assert end is not None
    text = "".join(piece.text for piece in pieces)
    finish = pieces[-1].finish_reason
    calls = response.tools.calls(text) if finish == "stop" else None
    if calls is not None:
        return response.body("completed", [call_item(call) for call in calls], end.usage, response.run.cost_nano)
    status = status_of(finish)
    part = text_part(text, chat_logprobs([entry for piece in pieces for entry in shown_logprobs(piece)]))
    return response.body(status, [message(new_id("msg"), status, [part])], end.usage, response.run.cost_nano)
