"""OpenAI's and vLLM's sampling fields to `SamplingParams`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from ....engine.errors import ParameterError
from ....engine.request import Constraint, SamplingParams
from .constraints import constraint_of
from .errors import invalid, unsupported
from .wire import ChatRequest, CompletionRequest, ResponsesRequest, Sampled

T = TypeVar("T", bound=Sampled)

_GREEDY_BELOW = 1e-5
_MOST_STOPS = 64
_MOST_LOGPROBS = 20
# What a response must include to have log-probabilities.
WITH_LOGPROBS = "message.output_text.logprobs"
# Fields of chats and what they are called in a response.
MOVED = {
    "messages": "input", "max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format", "functions": "tools",
}  # fmt: skip
REFUSED = {
    "logprob_token_ids": "is not built; use logprobs.",
    "truncate_prompt_tokens": "is not built; shorten the prompt.",
    "cache_salt": "is not built; cached prompts are shared by all callers of a model.",
    "allowed_token_ids": "is not built; use logit_bias.",
    "bad_words": "is not built; use logit_bias.",
    "include_stop_str_in_output": "is not built; the stop text is in stop_reason.",
    "no_stop_trim": "is not built; the stop text is in stop_reason.",
    "logits_processors": "would run the caller's code.",
    "custom_logit_processor": "would run the caller's code.",
    "use_beam_search": "is not built.",
    "mm_processor_kwargs": "is fixed by the model.",
    "media_io_kwargs": "is fixed by the server.",
    "prompt_embeds": "is not accepted.",
    "image_embeds": "is not accepted.",
    "lora_path": "is not accepted.",
    "chat_template": "is set on the server, not by callers.",
    "guided_grammar": "takes a grammar, which is not built; use a JSON schema, a regex or a choice.",
    "grammar": "takes a grammar, which is not built; use a JSON schema, a regex or a choice.",
    "ebnf": "takes a grammar, which is not built; use a JSON schema, a regex or a choice.",
}


def chat_params(request: ChatRequest, constraint: Constraint | None) -> SamplingParams:
    """Parameters of a chat completion; `constraint` is what tools demand, if they do."""
    if request.top_logprobs is not None and not request.logprobs:
        raise invalid("top_logprobs", "top_logprobs needs logprobs: true.")
    if request.add_special_tokens:
        raise unsupported("add_special_tokens", "is not built for chats; the chat template has the special tokens.")
    name = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
    limit = getattr(request, name)
    if limit is not None and limit < 1:
        raise invalid(name, f"{name} must be at least 1, not {limit}.")
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    return _params(request, limit, logprobs, constraint_of(request, constraint))


def completion_params(request: CompletionRequest) -> tuple[SamplingParams, int]:
    """Parameters of a completion, and its token limit: 0 scores the prompt and is not the engine's affair."""
    limit = 16 if request.max_tokens is None else request.max_tokens
    if limit < 0:
        raise invalid("max_tokens", f"max_tokens must be at least 0, not {limit}.")
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise unsupported("best_of", "must equal n here.")
    if request.suffix:
        raise unsupported("suffix", "needs a model that was trained to fill in.")
    params = _params(request, max(1, limit), request.logprobs, constraint_of(request))
    if request.echo and request.logprobs is not None:
        if request.stream:
            raise unsupported("logprobs", "cannot be had for an echoed prompt in a stream.")
        params = replace(params, prompt_logprobs=max(request.logprobs, params.prompt_logprobs or 0))
    return params, limit


def response_params(request: ResponsesRequest, constraint: Constraint | None) -> SamplingParams:
    """Parameters of a response; `constraint` is what tools demand, if they do. Log-probabilities are asked for by
    `include`, `top_logprobs` says how many.
    """
    for name, other in MOVED.items():
        if getattr(request, name) not in (None, [], {}):
            raise unsupported(name, f"is called {other} in the Responses API.")
    for name in ("prompt_logprobs", "return_token_ids", "return_tokens_as_token_ids"):
        if getattr(request, name):
            raise unsupported(name, "is built for chat completions only.")
    if request.n not in (None, 1):
        raise unsupported("n", "must be 1: a response is one answer.")
    limit, top = request.max_output_tokens, request.top_logprobs
    if limit is not None and limit < 1:
        raise invalid("max_output_tokens", f"max_output_tokens must be at least 1, not {limit}.")
    if top is not None and not 0 <= top <= _MOST_LOGPROBS:
        raise invalid("top_logprobs", f"top_logprobs must be from 0 to {_MOST_LOGPROBS}, not {top}.")
    logprobs = (top or 0) if WITH_LOGPROBS in (request.include or []) else None
    return _params(request, limit, logprobs, constraint_of(request, constraint))


def _params(
    request: Sampled, limit: int | None, logprobs: int | None, constraint: Constraint | None
) -> SamplingParams:
    refuse(request)
    temperature = 1.0 if request.temperature is None else request.temperature
    if not 0 <= temperature <= 2:
        raise invalid("temperature", f"temperature must be from 0 to 2, not {temperature:g}.")
    if request.prompt_logprobs is not None and request.stream:
        raise unsupported("prompt_logprobs", "cannot be had in a stream.")
    values: dict[str, Any] = {
        "top_k": 0 if request.top_k == -1 else request.top_k,
        "min_p": request.min_p,
        "repetition_penalty": request.repetition_penalty,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "seed": request.seed,
        "n": request.n,
        "stop_token_ids": None if request.stop_token_ids is None else tuple(request.stop_token_ids),
        "min_tokens": request.min_tokens,
        "ignore_eos": request.ignore_eos,
        "prompt_logprobs": _MOST_LOGPROBS if request.prompt_logprobs == -1 else request.prompt_logprobs,
        "top_p": request.top_p,
    }
    if request.top_p == 0:  # the likeliest token alone
        values |= {"top_p": None, "top_k": 1}
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return SamplingParams(
            max_tokens=limit,
            temperature=0.0 if temperature < _GREEDY_BELOW else temperature,
            stop=_stops(request.stop),
            logit_bias=_bias(request.logit_bias),
            logprobs=logprobs,
            constraint=constraint,
            **given,
        )
    except ParameterError as error:
        text, name = f"{error}.", error.name or None
        if name == "logprobs" and isinstance(request, ChatRequest):
            text, name = f"top_{text}", "top_logprobs"
        raise invalid(name, text) from None


def with_defaults(request: T, defaults: dict[str, float]) -> T:
    """The request with what its model recommends where the caller says nothing."""
    given = {name: value for name, value in defaults.items() if getattr(request, name, 0) is None}
    if "top_k" in given:
        given["top_k"] = int(given["top_k"])
    return msgspec.structs.replace(request, **given) if given else request


def refuse(request: Sampled) -> None:
    """Raise for fields whose promise cannot be kept."""
    for name, why in REFUSED.items():
        if getattr(request, name) not in (None, False, [], {}, ""):
            raise unsupported(name, why)
    if request.skip_special_tokens is False:
        raise unsupported("skip_special_tokens", "false is not built; return_token_ids has the special tokens.")
    policy = request.moderation.get("policy") if isinstance(request.moderation, dict) else None
    if isinstance(policy, dict) and "block" in (policy.get("mode"), *(_mode(side) for side in policy.values())):
        raise unsupported("moderation", "cannot be honoured: nothing is blocked here.")


def _mode(side: Any) -> Any:
    return side.get("mode") if isinstance(side, dict) else None


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    if isinstance(stop, str):
        return (stop,) if stop else ()
    if "" in (stop or []):
        raise invalid("stop", "stop must not hold an empty string.")
    if stop is not None and len(stop) > _MOST_STOPS:
        raise invalid("stop", f"stop holds {len(stop)} strings, the most is {_MOST_STOPS}.")
    return tuple(stop or ())


def _bias(bias: dict[str, float] | None) -> dict[int, float]:
    for token in bias or {}:
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise invalid("logit_bias", f"The keys of logit_bias must be token ids, not {token!r:.40}.")
    return {int(token): value for token, value in (bias or {}).items()}
