"""What upstreams send, as far as it is used. Servers differ, so everything may be null, left out or more."""

from __future__ import annotations

from typing import Any

import msgspec

Bag = dict[str, Any]


class TopToken(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class Token(TopToken):
    top_logprobs: list[TopToken] | None = None


class Logprobs(msgspec.Struct):
    """Of a chat: `content`. Of a completion: the parallel lists."""

    content: list[Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class Said(msgspec.Struct):
    """A delta or a message."""

    content: str | None = None
    refusal: str | None = None


class PromptToken(msgspec.Struct):
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


PromptLogprobs = list[dict[int, PromptToken] | None]


class Choice(msgspec.Struct):
    """`matched_stop` is SGLang's word for `stop_reason`."""

    index: int = 0
    delta: Said | None = None
    message: Said | None = None
    text: str | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    matched_stop: str | int | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None


class PromptDetails(msgspec.Struct):
    """`multimodal_tokens` is vLLM's way to tell of images."""

    cached_tokens: int | None = None
    image_tokens: int | None = None
    multimodal_tokens: dict[str, int | None] | None = None


class Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class Answer(msgspec.Struct):
    """A chunk of a stream, or a whole answer; or an error, which SGLang also sends without an object around it."""

    choices: list[Choice] | None = None
    usage: Counts | None = None
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None
    error: Any = None
    object: str | None = None
    message: Any = None
    code: Any = None
    type: Any = None
    param: Any = None

    @property
    def failure(self) -> Any:
        """The error in it, in whichever form; None if it is none."""
        if self.error is not None:
            return self.error
        if self.object == "error" or (self.choices is None and self.message is not None):
            return {"message": self.message, "code": self.code, "type": self.type, "param": self.param}
        return None


class Inputs(msgspec.Struct):
    input_modalities: list[str] | None = None


class Listed(msgspec.Struct):
    """A model in an upstream's list; `max_model_len` is vLLM's, `context_length` OpenRouter's, both are ours."""

    id: str
    root: str | None = None
    aliases: list[str] | None = None
    owned_by: str | None = None
    max_model_len: int | None = None
    context_length: int | None = None
    quantization: str | None = None
    architecture: Inputs | None = None
    supported_parameters: list[str] | None = None
    default_sampling: dict[str, int | float] | None = None


class Models(msgspec.Struct):
    data: list[Listed] = []


class Tokenized(msgspec.Struct):
    tokens: list[int]
    token_strs: list[str] | None = None


class Detokenized(msgspec.Struct):
    """`text` is SGLang's word for `prompt`."""

    prompt: str | None = None
    text: str | None = None


answer_decoder = msgspec.json.Decoder(Answer)
models_decoder = msgspec.json.Decoder(Models)
tokenized_decoder = msgspec.json.Decoder(Tokenized)
detokenized_decoder = msgspec.json.Decoder(Detokenized)
