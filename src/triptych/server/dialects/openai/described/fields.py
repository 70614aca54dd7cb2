"""What is said of the fields of chats, completions and token counts, with their defaults and limits."""

from __future__ import annotations

from typing import Any

from ....operations import Field, Fields
from ..models import DetokenizeRequest, TokenizeRequest
from ..sampling import REFUSED
from ..wire import ChatRequest, CompletionRequest, Message, StreamOptions

_SCHEMA = {"anyOf": [{"type": "object"}, {"type": "string", "description": "JSON as text."}]}
TOOL = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["function"]},
        "function": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "description": {},
                "parameters": {"type": ["object", "null"], "description": "JSON Schema of the arguments."},
            },
            "required": ["name"],
        },
    },
    "required": ["function"],
}
_FORMAT = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["text", "json_object", "json_schema"], "default": "text"},
        "json_schema": {"description": "For `json_schema`: an object with the `schema`."},
        "schema": {"description": "For `json_object`: a JSON Schema, if it is to be one of a certain form."},
    },
}
_PART = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                "type": {"enum": ["text", "input_text", "output_text", "refusal", None]},
                "text": {"type": ["string", "null"]},
            },
        },
        {
            "type": "object",
            "properties": {
                "type": {"enum": ["image_url", "input_image", "image", None]},
                "image_url": {
                    "description": "An object with a `url`, or the URL alone: http(s), or a data URI with base64.",
                },
                "detail": {
                    "description": "`low`: LLaVA 1.6 sees a coarse view of the whole image, for few tokens. Any other "
                    "word: all of it. Stands here or beside the `url`.",
                },
            },
        },
    ],
}  # fmt: skip


def numbers(low: float, high: float) -> dict[str, Any]:
    return {"minimum": low, "maximum": high}


MODEL = Field("A served name: the model's own or an alias. May be left out while only one model is served or runs.")
_MOST = {"maxItems": 64}

# What most callers look for, and the rest.
COMMON: dict[str, Field] = {
    "temperature": Field("How evenly tokens are drawn; 0 always takes the likeliest one.", 1.0, numbers(0, 2)),
    "top_p": Field("Draws from the likeliest tokens that make up this probability.", 1.0, numbers(0, 1)),
    "seed": Field("Makes drawn answers repeatable, up to the rounding of what is computed together."),
    "stop": Field("A text that ends the answer, or up to 64 of them. It is not part of the answer.", None, _MOST),
    "n": Field("How many answers.", 1, numbers(1, 128)),
    "stream": Field("Answer with server-sent events, one for each step.", False),
    "stream_options": Field("What a stream tells besides."),
    "response_format": Field("OpenAI's way to demand JSON, of any form or of a schema's.", None, _FORMAT),
}
FINER: dict[str, Field] = {
    "top_k": Field("Draws from this many likeliest tokens; 0 or -1 from all.", 0, {"minimum": -1}),
    "min_p": Field("Leaves out tokens less likely than this part of the likeliest one.", 0.0, numbers(0, 1)),
    "repetition_penalty": Field(
        "Above 1 makes tokens that stood before less likely.", 1.0, {"exclusiveMinimum": 0, "maximum": 100}
    ),
    "presence_penalty": Field("Taken from the logit of each token that was written.", 0.0, numbers(-2, 2)),
    "frequency_penalty": Field("The same, times how often it was written.", 0.0, numbers(-2, 2)),
    "stop_token_ids": Field("Tokens that end the answer."),
    "min_tokens": Field("Until there are this many tokens, nothing but a stop text ends the answer.", 0,
                        {"minimum": 0}),
    "ignore_eos": Field("Goes on behind the model's own end, up to the limit of tokens.", False),
    "logit_bias": Field("Added to the logits of tokens, by their ids: from -100 (never) to 100 (always)."),
    "prompt_logprobs": Field(
        "Log-probabilities of the prompt's tokens, with this many alternatives. Not in streams.", None, numbers(-1, 20)
    ),
    "priority": Field("Requests with a lower number go first.", 0),
    "return_token_ids": Field("Adds the token ids of prompt and answer.", False),
    "return_tokens_as_token_ids": Field("Spells tokens in log-probabilities as `token_id:17`.", False),
    "structured_outputs": Field("vLLM's: an object with one of `json`, `regex`, `choice` and `json_object`."),
    "guided_json": Field("vLLM's older way: a JSON Schema.", None, _SCHEMA),
    "guided_regex": Field("A regular expression that the whole text matches."),
    "guided_choice": Field("The texts that the answer may be."),
    "json_schema": Field("SGLang's way: a JSON Schema.", None, _SCHEMA),
    "regex": Field("SGLang's: a regular expression."),
}  # fmt: skip

CHAT: dict[str, Field] = {
    "model": MODEL,
    "messages": Field("The conversation so far, with at least one message.", None, {"minItems": 1}, True),
    "max_tokens": Field("The longest answer, in tokens; without it, what the model's context has room for.", None,
                        {"minimum": 1}),
    **COMMON,
    "tools": Field(
        "Functions that the model may call. They are shown to it in words; `tool_choice` forces a call on any model.",
        None, {"items": TOOL},
    ),
    "tool_choice": Field("`none`, `auto`, `required`, or an object that names one of the tools.", "auto"),
    "logprobs": Field("Adds the log-probability of each token.", False),
    "top_logprobs": Field("With `logprobs`: how many alternatives to each token.", 0, numbers(0, 20)),
    "max_completion_tokens": Field("`max_tokens` under its newer name, which goes first.", None, {"minimum": 1}),
    "parallel_tool_calls": Field("Whether several may be called at once.", True),
    "modalities": Field("Only text comes back; `audio` is refused."),
    "continue_final_message": Field("Goes on with the last message, which must be the assistant's.", False),
    "add_generation_prompt": Field("False only together with `continue_final_message`.", True),
    "echo": Field("With `continue_final_message`: the answer begins with the message it goes on with.", False),
    "interleave": Field("Leaves images where they stand among texts; else they go before the texts.", False),
    **FINER,
}  # fmt: skip

COMPLETION: dict[str, Field] = {
    "model": MODEL,
    "prompt": Field(
        "A text, or token ids; or a list of either, each answered by choices of its own. `<image>` marks the place of "
        "an image.",
        None, {"minItems": 1}, True,
    ),
    "max_tokens": Field("The longest answer, in tokens. 0 with `echo` and `logprobs` only scores the prompt.", 16,
                        {"minimum": 0}),
    **COMMON,
    "echo": Field("Begins the text with the prompt.", False),
    "logprobs": Field("Log-probabilities, with this many alternatives to each token.", None, numbers(0, 20)),
    "best_of": Field("Must equal `n`.", None, {"minimum": 1}),
    "add_special_tokens": Field("Whether a text prompt gets the model's beginning token.", True),
    "images": Field("Images of a single prompt: http(s) URLs, or data URIs with base64."),
    **FINER,
}  # fmt: skip

FIELDS: Fields = {
    ChatRequest: CHAT,
    CompletionRequest: COMPLETION,
    Message: {
        "role": Field(
            "Who speaks. Later system messages count as the user's.", None,
            {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool", "function"]},
        ),
        "content": Field(
            'A text, or parts: `{"type": "text", "text": ...}` and, in user messages, `{"type": "image_url", '
            '"image_url": {"url": ...}}`, whose URL is http(s) or a data URI with base64, or which has the `file_id` '
            "of an uploaded image in its place.", None,
            {"anyOf": [{"type": "string"}, {"type": "array", "items": _PART}]},
        ),
        "name": Field("Of a function, in its results."),
        "tool_calls": Field("Calls that the assistant made."),
        "tool_call_id": Field("Which call a tool's message is the result of."),
    },
    StreamOptions: {
        "include_usage": Field("One more event before the end has the usage.", False),
        "continuous_usage_stats": Field("With `include_usage`: every event has the usage so far.", False),
    },
    TokenizeRequest: {
        "model": MODEL,
        "prompt": Field("The text; this or `messages`."),
        "messages": Field("The conversation, as in a chat completion."),
        "add_special_tokens": Field("Whether a text gets the model's beginning token.", True),
        "add_generation_prompt": Field("False only together with `continue_final_message`.", True),
        "continue_final_message": Field("The conversation's last message is left open.", False),
        "tools": Field("Tools that are shown to the model, as in a chat completion.", None, {"items": TOOL}),
        "return_token_strs": Field("Adds each token as text.", False),
    },
    DetokenizeRequest: {
        "tokens": Field("Token ids of the model's vocabulary."),
        "model": MODEL,
    },
}  # fmt: skip

EVERYWHERE_REFUSED = {
    **REFUSED,
    "skip_special_tokens": "false is not built; return_token_ids has the special tokens.",
    "moderation": "is refused where its policy blocks; nothing is blocked here.",
}
CHAT_REFUSED = {
    **EVERYWHERE_REFUSED,
    "audio": "cannot be honoured: these models answer in text.",
    "web_search_options": "cannot be honoured: nothing is searched.",
    "functions": "is replaced by tools.",
    "function_call": "is replaced by tool_choice.",
    "add_special_tokens": "is not built for chats; the chat template has the special tokens.",
}
COMPLETION_REFUSED = {**EVERYWHERE_REFUSED, "suffix": "needs a model that was trained to fill in."}
