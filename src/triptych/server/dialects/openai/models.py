"""GET /v1/models and /v1/models/{id}; POST /tokenize and /detokenize; GET /tokenizer_info."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from ....replica.protocol import ChatPrompt, RawPrompt
from ...backend import Backend
from ...exchange import Answer, Exchange
from ...generation import NotSupportedError
from ...service import Service
from .content import read_messages
from .errors import from_error, invalid, missing, read_body, unsupported
from .form import to_json
from .rendered import unwrapped
from .tools import Tools
from .wire import Bag, ChatRequest, Int, Message

_STARTED = int(time.time())
_PARAMETERS = [
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "stop", "seed", "n", "logprobs", "top_logprobs",
    "logit_bias", "presence_penalty", "frequency_penalty", "repetition_penalty", "response_format",
    "structured_outputs", "tools", "tool_choice", "return_token_ids",
]  # fmt: skip


class TokenizeRequest(msgspec.Struct, kw_only=True):
    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    tools: list[Bag] | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    tokens: list[Int]
    model: str | None = None


_tokenize = msgspec.json.Decoder(TokenizeRequest)
_detokenize = msgspec.json.Decoder(DetokenizeRequest)


async def list_all(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """All models that are served."""
    return Answer(to_json({"object": "list", "data": [describe(model) for model in service.router.models]}))


async def retrieve(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """One model, by any of its names."""
    try:
        model = service.router.find(exchange.scope["path_params"]["model"])
    except Exception as error:
        raise from_error(error, []) from None
    return Answer(to_json(describe(model)))


def describe(model: Backend) -> dict[str, Any]:
    """A model in OpenAI's list, with what other lists know as well."""
    info = model.info
    described: dict[str, Any] = {
        "id": model.name,
        "object": "model",
        "created": _STARTED,
        "owned_by": model.name.partition("/")[0] if "/" in model.name else "triptych",
        "root": model.model,
        "parent": None,
        "aliases": list(model.aliases),
        "state": model.state,
        "supported_parameters": _PARAMETERS,
    }
    if model.note:
        described["description"] = model.note
    if model.failure:
        described["failure"] = model.failure
    if info is not None:
        inputs = ["text", "image"] if info.vision else ["text"]
        if info.max_context:  # an upstream may not tell
            described |= {"max_model_len": info.max_context, "context_length": info.max_context}
        described |= {
            "quantization": info.precision or None,
            "architecture": {
                "modality": f"{'+'.join(inputs)}->text",
                "input_modalities": inputs,
                "output_modalities": ["text"],
                "tokenizer": info.architecture or None,
                "instruct_type": None,
            },
            "default_sampling": info.defaults,
        }
    return described


async def tokenize(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """Token ids of a text or of a conversation, pictures expanded."""
    request = read_body(_tokenize, body)
    params: list[str] = []
    try:
        model = service.router.find(request.model)
        if request.add_generation_prompt is False and not request.continue_final_message:
            raise unsupported("add_generation_prompt", "false is built with continue_final_message only.")
        if request.messages is not None:
            content = read_messages(request.messages, interleave=False, continued=bool(request.continue_final_message))
            params = content.params
            Tools.of(ChatRequest(tools=request.tools)).show(content)
            pictures = await service.pictures(model, content.urls, exchange.owner, content.details)
            prompt: ChatPrompt | RawPrompt = ChatPrompt(await unwrapped(service, model, content.messages))
        elif request.prompt is not None:
            pictures, prompt = (), RawPrompt(request.prompt, request.add_special_tokens is not False)
        else:
            raise missing("prompt")
        info = await service.ready(model)
        encoded = await model.encode(prompt, pictures)
    except Exception as error:
        raise from_error(error, params) from error
    answer = {
        "count": len(encoded.token_ids),
        "max_model_len": info.max_context or None,
        "tokens": encoded.token_ids,
        "token_strs": encoded.tokens if request.return_token_strs else None,
    }
    return Answer(to_json(answer))


async def detokenize(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """The text of token ids."""
    request = read_body(_detokenize, body)
    try:
        model = service.router.find(request.model)
        vocab = (await service.ready(model)).vocab
        if vocab and not all(0 <= token < vocab for token in request.tokens):
            raise invalid("tokens", f"tokens must be whole numbers from 0 to {vocab - 1}.")
        text = await model.decode(request.tokens)
    except Exception as error:
        raise from_error(error, [], "tokens") from error
    return Answer(to_json({"prompt": text}))


async def tokenizer_info(service: Service, exchange: Exchange, body: bytes) -> Answer:
    """The special tokens and the chat template, as lm-eval asks for them."""
    try:
        model = service.router.find(exchange.query.get("model"))
        info = await service.ready(model)
        if not info.tokenizer:
            raise NotSupportedError(f"the server that answers for {model.name} does not tell its tokenizer")
    except Exception as error:
        raise from_error(error, []) from error
    return Answer(to_json({"tokenizer_class": "PreTrainedTokenizerFast", **info.tokenizer}))

