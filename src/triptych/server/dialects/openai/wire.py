"""Request bodies as they come. Every optional field takes null; unknown ones are ignored."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Bag = dict[str, Any]
# What the engine and the frames to it can hold.
Int = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Sampled(msgspec.Struct, kw_only=True):
    """What chat and completions share, OpenAI's and vLLM's."""

    model: str | None = None
    max_tokens: Int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: Int | None = None
    n: Int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[Int] | None = None
    min_tokens: Int | None = None
    ignore_eos: bool | None = None
    logit_bias: dict[str, float] | None = None
    prompt_logprobs: Int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    priority: Int | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    # Constraints in all spellings.
    response_format: Bag | None = None
    structured_outputs: Bag | None = None
    guided_json: Bag | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    json_schema: Bag | str | None = None
    regex: str | None = None
    grammar: str | None = None
    ebnf: str | None = None
    # Promises that cannot be kept here: refused, never ignored.
    skip_special_tokens: bool | None = None
    logprob_token_ids: list[Int] | None = None
    truncate_prompt_tokens: Int | None = None
    cache_salt: str | None = None
    moderation: Any = None
    allowed_token_ids: list[Int] | None = None
    bad_words: list[str] | None = None
    include_stop_str_in_output: bool | None = None
    no_stop_trim: bool | None = None
    logits_processors: list[Any] | None = None
    custom_logit_processor: Any = None
    use_beam_search: bool | None = None
    mm_processor_kwargs: Bag | None = None
    media_io_kwargs: Bag | None = None
    prompt_embeds: Any = None
    image_embeds: Any = None
    lora_path: str | None = None
    chat_template: str | None = None


class Message(msgspec.Struct, kw_only=True):
    role: str
    content: str | list[Any] | None = None
    name: str | None = None
    tool_calls: list[Bag] | None = None
    tool_call_id: str | None = None


class ChatRequest(Sampled, kw_only=True):
    messages: list[Message] | None = None
    max_completion_tokens: Int | None = None
    logprobs: bool | None = None
    top_logprobs: Int | None = None
    tools: list[Bag] | None = None
    tool_choice: str | Bag | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Bag] | None = None
    function_call: str | Bag | None = None
    audio: Bag | None = None
    modalities: list[str] | None = None
    web_search_options: Bag | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    add_special_tokens: bool | None = None
    interleave: bool | None = None
    echo: bool | None = None


class CompletionRequest(Sampled, kw_only=True):
    prompt: str | list[str | Int | list[Int]] | None = None
    echo: bool | None = None
    logprobs: Int | None = None
    best_of: Int | None = None
    suffix: str | None = None
    add_special_tokens: bool | None = None
    images: list[str] | None = None


class InputItem(msgspec.Struct, kw_only=True):
    """One item of a response's input: a message, a call that was made, what came of it, or another kind."""

    type: str | None = None
    id: str | None = None
    role: str | None = None
    content: str | list[Any] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: Any = None


class FlatTool(msgspec.Struct, kw_only=True):
    """A function as the Responses API spells it: without the object around it that chats have."""

    type: str = "function"
    name: str | None = None
    description: str | None = None
    parameters: Bag | None = None
    strict: bool | None = None


class TextFormat(msgspec.Struct, kw_only=True):
    type: str = "text"
    name: str | None = None
    schema: Bag | None = None
    strict: bool | None = None
    description: str | None = None


class TextOptions(msgspec.Struct, kw_only=True):
    format: TextFormat | None = None


class ResponsesRequest(Sampled, kw_only=True):
    input: str | list[InputItem] | None = None
    instructions: str | None = None
    max_output_tokens: Int | None = None
    top_logprobs: Int | None = None
    include: list[str] | None = None
    text: TextOptions | None = None
    tools: list[FlatTool] | None = None
    tool_choice: str | Bag | None = None
    parallel_tool_calls: bool | None = None
    truncation: str | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    # What needs an answer that was kept, or is done later: refused.
    previous_response_id: str | None = None
    conversation: str | Bag | None = None
    prompt: Bag | None = None
    background: bool | None = None
    # What chats call it: refused with the name that it has here.
    messages: Any = None
    max_completion_tokens: Any = None
    functions: Any = None
