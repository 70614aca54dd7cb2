"""What answers look like: the forms of the objects that this dialect builds, for its description and the tests of it.

Answers are built as plain dicts where they arise. A field that may be UNSET is not always there.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[int, Meta(ge=0, description="Seconds since 1970.")]
Name = Annotated[str, Meta(description="The served model that answered, whatever name it was asked by.")]
Fingerprint = Annotated[str, Meta(description="Changes when the weights, their precision or the engine do.")]
FinishReason = Annotated[
    Literal["stop", "length", "tool_calls", "content_filter"] | None,
    Meta(
        description="`stop`: it came to its end or to a stop string. `length`: it was cut at the limit of tokens. "
        "`content_filter`: the provider that answers for the model cut it."
    ),
]
StopReason = Annotated[str | int | None, Meta(description="The stop string or token id that ended it, if one did.")]
TokenIds = Annotated[list[int], Meta(description="With `return_token_ids`.")]
PromptLogprobs = Annotated[
    list[dict[str, "PromptToken"] | None],
    Meta(description="With `prompt_logprobs`: for each token of the prompt the alternatives by id."),
]


# ---- errors ---------------------------------------------------------------------------------------------------------


class Error(msgspec.Struct):
    message: Annotated[str, Meta(description="What is wrong, for people.")]
    type: Annotated[str, Meta(description="`invalid_request_error`, `rate_limit_error` or `server_error`.")]
    param: Annotated[str | None, Meta(description="The path of the field at fault, such as `messages[0].content[1]`.")]
    code: Annotated[str | None, Meta(description="What is wrong, for programs, such as `model_not_found`.")]


class ErrorAnswer(msgspec.Struct):
    """What every failure looks like."""

    error: Error


# ---- usage and log-probabilities ------------------------------------------------------------------------------------


COST = "Dollars, if what was called has a price here."


class PromptDetails(msgspec.Struct):
    cached_tokens: Annotated[Count, Meta(description="Those that were not computed again.")]
    audio_tokens: Count
    image_tokens: Annotated[Count, Meta(description="Those that images became.")]
    text_tokens: Count


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: Count
    audio_tokens: Count
    accepted_prediction_tokens: Count
    rejected_prediction_tokens: Count


class Usage(msgspec.Struct):
    """Tokens, counted where they are computed."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    cost: Annotated[float | UnsetType, Meta(description=COST)] = UNSET
    prompt_tokens_details: PromptDetails | UnsetType = UNSET
    completion_tokens_details: CompletionDetails | UnsetType = UNSET


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: Annotated[list[int], Meta(description="The token as UTF-8; a character may be spread over several tokens.")]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(msgspec.Struct):
    content: list[TokenLogprob]
    refusal: None


class CompletionLogprobs(msgspec.Struct):
    """Four lists of one length."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: Annotated[list[int], Meta(description="Where each token begins in the text, in characters.")]


class PromptToken(msgspec.Struct):
    logprob: float
    rank: Annotated[int, Meta(description="1 for the likeliest.")]
    decoded_token: str


# ---- chat completions -----------------------------------------------------------------------------------------------


class CalledFunction(msgspec.Struct):
    name: str
    arguments: Annotated[str, Meta(description="JSON as text.")]


class ToolCall(msgspec.Struct):
    id: str
    type: Literal["function"]
    function: CalledFunction
    index: Annotated[int | UnsetType, Meta(description="In streams.")] = UNSET


class AnswerMessage(msgspec.Struct):
    role: Literal["assistant"]
    content: Annotated[str | None, Meta(description="The text; null when tools are called.")]
    refusal: None
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChatChoice(msgspec.Struct):
    index: Count
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    stop_reason: StopReason
    token_ids: TokenIds | UnsetType = UNSET


class ChatCompletion(msgspec.Struct):
    id: str
    object: Literal["chat.completion"]
    created: Seconds
    model: Name
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: Fingerprint
    service_tier: None
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET
    prompt_token_ids: TokenIds | UnsetType = UNSET


class Delta(msgspec.Struct):
    """What a chunk adds to the message."""

    role: Annotated[Literal["assistant"] | UnsetType, Meta(description="In the first chunk of a choice.")] = UNSET
    content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChunkChoice(msgspec.Struct):
    index: Count
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    stop_reason: StopReason | UnsetType = UNSET
    token_ids: TokenIds | UnsetType = UNSET


class ChatCompletionChunk(msgspec.Struct):
    """One event of a stream. With `stream_options.include_usage` the last one has the usage and no choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: Seconds
    model: Name
    system_fingerprint: Fingerprint
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET
    prompt_token_ids: TokenIds | UnsetType = UNSET


# ---- completions ----------------------------------------------------------------------------------------------------


class CompletionChoice(msgspec.Struct):
    index: Annotated[Count, Meta(description="The choices of the first prompt come first.")]
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason
    stop_reason: StopReason | UnsetType = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET
    prompt_token_ids: TokenIds | UnsetType = UNSET
    token_ids: TokenIds | UnsetType = UNSET


class Completion(msgspec.Struct):
    id: str
    object: Literal["text_completion"]
    created: Seconds
    model: Name
    choices: list[CompletionChoice]
    system_fingerprint: Fingerprint
    usage: Annotated[
        Usage | UnsetType | None, Meta(description="In streams only if `stream_options.include_usage` asks for it.")
    ] = UNSET


# ---- models and tokens ----------------------------------------------------------------------------------------------


class Architecture(msgspec.Struct):
    modality: str
    input_modalities: list[str]
    output_modalities: list[str]
    tokenizer: Annotated[str, Meta(description="The model's architecture.")]
    instruct_type: str | None


class Model(msgspec.Struct):
    """A served model. What only a model that has run knows of itself is not there before its first start."""

    id: str
    object: Literal["model"]
    created: Seconds
    owned_by: str
    root: Annotated[str, Meta(description="The checkpoint: an embedded model, a folder or a hub id.")]
    parent: str | None
    aliases: Annotated[list[str], Meta(description="Other names it answers to.")]
    state: Literal["stopped", "starting", "ready", "failed"]
    supported_parameters: list[str]
    description: Annotated[str | UnsetType, Meta(description="What to know of it, such as that it is a demo.")] = UNSET
    failure: Annotated[str | UnsetType, Meta(description="Why its last start or run failed.")] = UNSET
    max_model_len: Annotated[Count | UnsetType, Meta(description="The longest context, in tokens.")] = UNSET
    context_length: Count | UnsetType = UNSET
    quantization: Annotated[str | UnsetType, Meta(description="How its weights are held.")] = UNSET
    architecture: Architecture | UnsetType = UNSET
    default_sampling: Annotated[
        dict[str, float] | UnsetType, Meta(description="What counts where a request says nothing.")
    ] = UNSET


class ModelList(msgspec.Struct):
    object: Literal["list"]
    data: list[Model]


class Tokens(msgspec.Struct):
    count: Count
    max_model_len: Annotated[Count, Meta(description="The longest context, in tokens.")]
    tokens: list[int]
    token_strs: Annotated[list[str] | None, Meta(description="With `return_token_strs`.")]


class Text(msgspec.Struct):
    prompt: str


class TokenizerInfo(msgspec.Struct):
    """The special tokens by name (`bos_token`, ...) and the chat template."""

    tokenizer_class: str
    chat_template: str | UnsetType | None = UNSET
