"""OpenAI's and vLLM's sampling fields to `SamplingParams`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from ....engine.errors import ParameterError
from ....engine.request import Constraint, SamplingParams
from .errors import OpenAIError, invalid, unsupported
from .wire import ChatRequest, CompletionRequest, Sampled

T = TypeVar("T", bound=Sampled)

_GREEDY_BELOW = 1e-5
_MOST_STOPS = 64
_REFUSED = {
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
    limit = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
    name = "max_completion_tokens" if request.max_completion_tokens is not None else "max_tokens"
    if limit is not None and limit < 1:
        raise invalid(name, f"{name} must be at least 1, not {limit}.")
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    return _params(request, limit, logprobs, constraint or constraint_of(request))


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
        params = replace(params, prompt_logprobs=request.logprobs)
    return params, limit


def _params(
    request: Sampled, limit: int | None, logprobs: int | None, constraint: Constraint | None
) -> SamplingParams:
    refuse(request)
    temperature = 1.0 if request.temperature is None else request.temperature
    if temperature > 2:
        raise invalid("temperature", f"temperature must be from 0 to 2, not {temperature:g}.")
    values: dict[str, Any] = {
        "top_k": None if request.top_k is None else max(0, request.top_k),
        "min_p": request.min_p,
        "repetition_penalty": request.repetition_penalty,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "seed": request.seed,
        "n": request.n,
        "stop_token_ids": None if request.stop_token_ids is None else tuple(request.stop_token_ids),
        "min_tokens": request.min_tokens,
        "ignore_eos": request.ignore_eos,
        "prompt_logprobs": request.prompt_logprobs,
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
        in_chat = error.name == "logprobs" and isinstance(request, ChatRequest)
        raise OpenAIError(f"{error}.", "top_logprobs" if in_chat else error.name or None) from None


def with_defaults(request: T, defaults: dict[str, float]) -> T:
    """The request with what its model recommends where the caller says nothing."""
    given = {name: value for name, value in defaults.items() if getattr(request, name, 0) is None}
    return msgspec.structs.replace(request, **given) if given else request


def refuse(request: Sampled) -> None:
    """Raise for fields whose promise cannot be kept."""
    for name, why in _REFUSED.items():
        if getattr(request, name) not in (None, False, [], {}, ""):
            raise unsupported(name, why)


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if "" in stops and stop != "":
        raise invalid("stop", "stop must not hold an empty string.")
    if len(stops) > _MOST_STOPS:
        raise invalid("stop", f"stop holds {len(stops)} strings, the most is {_MOST_STOPS}.")
    return tuple(text for text in stops if text)


def _bias(bias: dict[str, float] | None) -> dict[int, float]:
    try:
        return {int(token): value for token, value in (bias or {}).items()}
    except ValueError:
        raise invalid("logit_bias", "The keys of logit_bias must be token ids, whole numbers as text.") from None


def constraint_of(request: Sampled) -> Constraint | None:
    """The one form that is demanded of the text, in whichever spelling. Raises when there are two."""
    found = dict(_spelled(request))
    wanted = _response_format(request.response_format)
    if wanted is not None and found:
        other = next(iter(found))
        raise invalid("response_format", f"response_format and {other} both constrain the output; give one.")
    if len(found) > 1:
        raise invalid(list(found)[1], f"{' and '.join(found)} both constrain the output; give one.")
    return wanted or next(iter(found.values()), None)


def _spelled(request: Sampled) -> list[tuple[str, Constraint]]:
    found: list[tuple[str, Constraint]] = []
    for name, kind in (
        ("guided_json", "json_schema"), ("json_schema", "json_schema"), ("guided_regex", "regex"), ("regex", "regex"),
        ("guided_choice", "choice"),
    ):  # fmt: skip
        value = getattr(request, name)
        if value is not None:
            found.append((name, Constraint(kind, _schema(value, name) if kind == "json_schema" else value)))  # type: ignore[arg-type]
    known = {"json": "json_schema", "regex": "regex", "choice": "choice", "json_object": "json_object"}
    for name, value in (request.structured_outputs or {}).items():
        if value is None or value is False or name in ("whitespace_pattern", "disable_any_whitespace"):
            continue
        path = f"structured_outputs.{name}"
        if name not in known:
            raise unsupported(path, f"is not built; there are {', '.join(known)}.")
        found.append((path, Constraint(known[name], _schema(value, path) if name == "json" else value)))  # type: ignore[arg-type]
    return found


def _response_format(wanted: dict[str, Any] | None) -> Constraint | None:
    kind = (wanted or {}).get("type", "text")
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        schema = wanted.get("schema")
        return Constraint("json_object") if schema is None else Constraint("json_schema", schema)
    if kind == "json_schema":
        inner = wanted.get("json_schema")
        if not isinstance(inner, dict):
            why = "response_format of type json_schema needs a json_schema object."
            raise invalid("response_format.json_schema", why)
        schema = inner.get("schema")
        return Constraint("json_object") if schema is None else Constraint("json_schema", schema)
    raise OpenAIError(
        f"response_format.type {kind!r} is not supported; there are text, json_object and json_schema.",
        "response_format.type", "unsupported_value",
    )  # fmt: skip


def _schema(value: Any, param: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise invalid(param, f"Invalid schema for response_format: {param} is not JSON ({error}).") from None
