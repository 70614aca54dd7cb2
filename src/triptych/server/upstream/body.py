"""A Generation as the request that an upstream understands.

What OpenAI's API does not know goes in vLLM's spelling, and only where it was asked for: strict providers refuse fields
that they do not know. What an upstream could ignore without a word, though the answer depends on it, is refused here.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ...engine.errors import ParameterError, PromptError
from ...engine.request import Constraint, SamplingParams
from ..generation import ChatPrompt, Generation, Picture, RawPrompt
from .kinds import Kind, tells_token_ids

# From this many bytes of pictures on a body is made on a thread: it would hold up the event loop.
_LARGE = 1 << 18
# What every server knows an image's `detail` to be; some refuse other words, and without one it is for them to say.
_DETAILS = ("low", "high")
# Beginnings of image files.
_FORMATS = (
    (b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"BM", "bmp"), (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
)  # fmt: skip
# Fields that are sent when they are not at these values, by the names that they have there too.
_PLAIN = {
    "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "seed": None, "n": 1, "top_k": 0, "min_p": 0.0,
    "repetition_penalty": 1.0, "min_tokens": 0, "ignore_eos": False, "prompt_logprobs": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sent:
    """A request: its path, its JSON, whether a stream is asked for, and the places of the images in it."""

    path: str
    body: bytes
    stream: bool
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """What the request is for: the model's name there, the kind of server, and its context in tokens (0: not known)."""

    model: str
    kind: Kind
    max_context: int


async def build(generation: Generation, target: Target) -> Sent:
    """The request for `generation`. Raises ParameterError and PromptError for what cannot be asked there."""
    if sum(len(picture.data) for picture in generation.pictures) > _LARGE:
        return await asyncio.to_thread(_build, generation, target)
    return _build(generation, target)


def _build(generation: Generation, target: Target) -> Sent:
    prompt, params = generation.prompt, generation.params
    fields: dict[str, Any] = {"model": target.model}
    images: tuple[str, ...] = ()
    if isinstance(prompt, ChatPrompt):
        path = "/chat/completions"
        fields["messages"] = with_pictures(prompt.messages, generation.pictures)
        images = tuple(_places(prompt.messages))
        fields |= continued(prompt)
        if images and target.kind == "triptych":
            fields["interleave"] = True  # images are where the model is to see them
    else:
        path = "/completions"
        fields |= _raw(prompt, generation.pictures)
    fields |= _sampling(params) | _limit(params, target, isinstance(prompt, ChatPrompt))
    fields |= _logprobs(params, isinstance(prompt, ChatPrompt))
    if params.constraint is not None:
        fields |= _constraint(params.constraint, target)
    if generation.priority and target.kind == "triptych":
        fields["priority"] = generation.priority  # vLLM refuses it, unless it was started to schedule by priority
    if tells_token_ids(target.kind):
        fields["return_token_ids"] = True
    # Log-probabilities of a prompt cannot be had in a stream, at vLLM as here.
    stream = params.prompt_logprobs is None
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return Sent(path, msgspec.json.encode(fields), stream, images)


# ---- the prompt -----------------------------------------------------------------------------------------------------


def with_pictures(messages: list[dict[str, Any]], pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """Messages with data URIs at the places of the images. Raises PromptError when these are more or fewer."""
    waiting = iter(pictures)
    filled = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            content = [_part(part, waiting) for part in content]
        filled.append({"role": message["role"], "content": content})
    if next(waiting, None) is not None:
        raise PromptError("there are more images than places for them")
    return filled


def _part(part: dict[str, Any], waiting: Iterator[Picture]) -> dict[str, Any]:
    if part["type"] != "image":
        return {"type": "text", "text": part["text"]}
    picture = next(waiting, None)
    if picture is None:
        raise PromptError("there are more places for images than images")
    detail = {"detail": picture.detail} if picture.detail in _DETAILS else {}
    return {"type": "image_url", "image_url": {"url": data_uri(picture.data), **detail}}


def data_uri(data: bytes) -> str:
    """An encoded picture as text, with the format that its beginning tells."""
    known = next((name for begin, name in _FORMATS if data.startswith(begin)), None)
    if known is None and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        known = "webp"
    if known is None and data[4:12] in (b"ftypavif", b"ftypavis"):
        known = "avif"
    kind = f"image/{known}" if known else "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _places(messages: list[dict[str, Any]]) -> Iterator[str]:
    """The paths of the images, in order."""
    for number, message in enumerate(messages):
        if not isinstance(message["content"], str):
            for place, part in enumerate(message["content"]):
                if part["type"] == "image":
                    yield f"messages[{number}].content[{place}]"


def continued(prompt: ChatPrompt) -> dict[str, Any]:
    """What says that the last message is the answer's beginning, where it is one."""
    if prompt.messages[-1]["role"] != "assistant":
        return {}
    return {"continue_final_message": True, "add_generation_prompt": False}


def _raw(prompt: RawPrompt, pictures: Sequence[Picture]) -> dict[str, Any]:
    if pictures:
        raise PromptError("the server that answers for this model takes images in chats only")
    fields: dict[str, Any] = {"prompt": prompt.text}
    if isinstance(prompt.text, str) and not prompt.add_bos:
        fields["add_special_tokens"] = False
    return fields


# ---- parameters -----------------------------------------------------------------------------------------------------


def _sampling(params: SamplingParams) -> dict[str, Any]:
    # Always said: greedy is the default here, and there it is not.
    fields: dict[str, Any] = {"temperature": params.temperature}
    for name, default in _PLAIN.items():
        value = getattr(params, name)
        if value != default:
            fields[name] = value
    if params.stop:
        fields["stop"] = list(params.stop)
    if params.stop_token_ids:
        fields["stop_token_ids"] = list(params.stop_token_ids)
    if params.logit_bias:
        fields["logit_bias"] = {str(token): bias for token, bias in params.logit_bias.items()}
    return fields


def _limit(params: SamplingParams, target: Target, chat: bool) -> dict[str, Any]:
    """Without a limit a chat goes on until the context is full; a completion would end after 16 tokens."""
    if params.max_tokens is not None:
        return {"max_tokens": params.max_tokens}
    if chat:
        return {}
    if not target.max_context:
        told = "max_tokens must be given: the server that answers does not tell its context"
        raise ParameterError(told, "max_tokens")
    return {"max_tokens": target.max_context}


def _logprobs(params: SamplingParams, chat: bool) -> dict[str, Any]:
    if params.logprobs is None:
        return {}
    if not chat:
        return {"logprobs": params.logprobs}
    return {"logprobs": True, **({"top_logprobs": params.logprobs} if params.logprobs else {})}


def _constraint(constraint: Constraint, target: Target) -> dict[str, Any]:
    """A form that the text must have. Raises ParameterError where the upstream is not known to force it."""
    kind, value = constraint.kind, constraint.value
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if kind == "json_schema":
        schema = msgspec.json.decode(value) if isinstance(value, str | bytes) else value
        # Strict: without it OpenAI's own servers take the schema for a wish.
        named = {"name": "answer", "schema": {} if schema is True else schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if target.kind in ("vllm", "triptych"):
        return {"structured_outputs": {kind: list(value) if kind == "choice" else value}}
    if target.kind == "sglang":
        return {"regex": value if kind == "regex" else "|".join(f"({_escaped(choice)})" for choice in value)}
    raise ParameterError(
        f"the server that answers is not known to force a {kind}; use a JSON schema", f"structured_outputs.{kind}"
    )


def _escaped(text: str) -> str:
    """As a pattern that matches `text` alone; Python's own escapes are not all known elsewhere."""
    return "".join(f"\\{char}" if char in r"\.^$*+?()[]{}|" else char for char in text)
