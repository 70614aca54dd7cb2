"""The Responses API in words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ....operations import (
    ANY_MODEL,
    EVENT_STREAM,
    JSON,
    PICTURE,
    SEEING_MODEL,
    Body,
    Example,
    Field,
    Fields,
    Group,
    Operation,
    Parameter,
    Reply,
    Stream,
)
from ..routes import PREFIXES
from ..wire import FlatTool, InputItem, ResponsesRequest, TextFormat, TextOptions
from .answers import COST, Count, Name, Seconds, TokenLogprob
from .chat import TIMES
from .failures import ALWAYS, WORK, failures
from .fields import COMMON, EVERYWHERE_REFUSED, FINER, MODEL, numbers

# ---- answers --------------------------------------------------------------------------------------------------------


class OutputText(msgspec.Struct):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprob]


class OutputItem(msgspec.Struct):
    """A message, or a call of one of the tools."""

    id: str
    type: Literal["message", "function_call"]
    status: Literal["in_progress", "completed", "incomplete"]
    role: Annotated[Literal["assistant"] | UnsetType, Meta(description="Of a message.")] = UNSET
    content: Annotated[list[OutputText] | UnsetType, Meta(description="Of a message.")] = UNSET
    call_id: Annotated[str | UnsetType, Meta(description="Of a call: what its result is sent back with.")] = UNSET
    name: Annotated[str | UnsetType, Meta(description="Of a call.")] = UNSET
    arguments: Annotated[str | UnsetType, Meta(description="Of a call: JSON as text.")] = UNSET


class InputDetails(msgspec.Struct):
    cached_tokens: Count
    cache_write_tokens: Count
    image_tokens: Count
    text_tokens: Count


class OutputDetails(msgspec.Struct):
    reasoning_tokens: Count


class ResponseUsage(msgspec.Struct, kw_only=True):
    cost: Annotated[float | UnsetType, Meta(description=COST)] = UNSET
    input_tokens: Count
    input_tokens_details: InputDetails
    output_tokens: Count
    output_tokens_details: OutputDetails
    total_tokens: Count


class Incomplete(msgspec.Struct):
    reason: Literal["max_output_tokens"]


class ResponseObject(msgspec.Struct):
    """A response. What the request set comes back as it counted."""

    id: str
    object: Literal["response"]
    created_at: Seconds
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete"]
    output: list[OutputItem]
    usage: ResponseUsage | None
    model: Name
    incomplete_details: Incomplete | None
    error: None
    background: bool
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: None
    reasoning: None
    service_tier: None
    store: Annotated[bool, Meta(description="Always false: nothing is kept.")]
    temperature: float
    text: Annotated[dict[str, Any], Meta(description="The format that the text has.")]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: str
    user: str | None


class ResponseEvent(msgspec.Struct):
    """One event of a stream. Which fields it has depends on its type; `response.created` and the last one have all of
    the response.
    """

    type: Annotated[str, Meta(description="Such as `response.output_text.delta`; also the event's name.")]
    sequence_number: Annotated[Count, Meta(description="Counts the events.")]
    response: ResponseObject | UnsetType = UNSET
    item_id: str | UnsetType = UNSET
    output_index: Count | UnsetType = UNSET
    content_index: Count | UnsetType = UNSET
    item: OutputItem | UnsetType = UNSET
    part: OutputText | UnsetType = UNSET
    delta: Annotated[str | UnsetType, Meta(description="What is added to a text or to arguments.")] = UNSET
    text: str | UnsetType = UNSET
    logprobs: list[TokenLogprob] | UnsetType = UNSET
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    code: Annotated[str | UnsetType | None, Meta(description="Of `error`, which ends a broken stream.")] = UNSET
    message: str | UnsetType = UNSET
    param: str | UnsetType | None = UNSET
    error: dict[str, Any] | UnsetType = UNSET


class InputTokens(msgspec.Struct):
    object: Literal["response.input_tokens"]
    input_tokens: Count


# ---- fields ---------------------------------------------------------------------------------------------------------

_NOT_HERE = ("response_format", "n", "prompt_logprobs", "return_token_ids", "return_tokens_as_token_ids")
_REQUEST: dict[str, Field] = {
    "model": MODEL,
    "input": Field("A text, or the items of the conversation so far.", None, {"minItems": 1}, True),
    "instructions": Field("A system message that comes before the input."),
    "max_output_tokens": Field("The longest answer, in tokens.", None, {"minimum": 1}),
    **{name: field for name, field in COMMON.items() if name not in _NOT_HERE},
    "text": Field("The form that the text must have."),
    "tools": Field("Functions that the model may call."),
    "tool_choice": Field("`none`, `auto`, `required`, or an object that names one of the tools.", "auto"),
    "parallel_tool_calls": Field("Whether several may be called at once.", True),
    "include": Field("`message.output_text.logprobs` adds the log-probability of each token."),
    "top_logprobs": Field("How many alternatives to each token are then shown.", 0, numbers(0, 20)),
    "truncation": Field(
        "`auto` leaves out the oldest messages of a conversation that is too long.", "disabled",
        {"enum": ["auto", "disabled"]},
    ),
    "metadata": Field("Comes back in the response."),
    "user": Field("Comes back in the response."),
    "n": Field("Must be 1.", 1, numbers(1, 1)),
    **{name: field for name, field in FINER.items() if name not in _NOT_HERE},
}  # fmt: skip

_FIELDS: Fields = {
    ResponsesRequest: _REQUEST,
    InputItem: {
        "type": Field("`message`, `function_call` or `function_call_output`; `reasoning` is left out."),
        "id": Field("Not needed."),
        "role": Field("Of a message: `system`, `developer`, `user` or `assistant`."),
        "content": Field("Of a message: a text, or parts of type `input_text`, `output_text` and `input_image`."),
        "call_id": Field("Of a call and of what came of it."),
        "name": Field("Of a call: the function's."),
        "arguments": Field("Of a call: JSON as text."),
        "output": Field("What came of a call: a text, or parts."),
    },
    FlatTool: {
        "type": Field("`function`.", "function"),
        "name": Field("The function's name."),
        "description": Field("What it is for."),
        "parameters": Field("A JSON Schema of its arguments."),
        "strict": Field("Accepted; a call that is forced always has this form."),
    },
    TextOptions: {"format": Field("Plain text unless it says otherwise.")},
    TextFormat: {
        "type": Field("`text`, `json_object` or `json_schema`.", "text"),
        "schema": Field("For `json_schema`."),
        "name": Field("Comes back in the response."),
        "strict": Field("Comes back in the response; the text always has this form."),
        "description": Field("Comes back in the response."),
    },
}
_KEPT = "cannot be honoured: nothing is kept here; send the whole conversation as input."
_REFUSED = {
    **EVERYWHERE_REFUSED,
    "previous_response_id": _KEPT,
    "conversation": _KEPT,
    "prompt": _KEPT,
    "background": "cannot be honoured: nothing is kept here, so an answer must be waited for.",
    "messages": "is called input here.",
    "max_tokens": "is called max_output_tokens here.",
    "max_completion_tokens": "is called max_output_tokens here.",
    "response_format": "is called text.format here.",
    "functions": "is called tools here.",
    "prompt_logprobs": "is built for chat completions only.",
    "return_token_ids": "is built for chat completions only.",
    "return_tokens_as_token_ids": "is built for chat completions only.",
}

# ---- operations -----------------------------------------------------------------------------------------------------

_ASKED = [
    {"type": "input_image", "image_url": PICTURE},
    {"type": "input_text", "text": "What color is the circle?"},
]
_EXAMPLES = (
    Example("A question", {"model": ANY_MODEL, "input": "What is 17 + 25?"}),
    Example("About an image", {"model": SEEING_MODEL, "input": [{"role": "user", "content": _ASKED}]}),
    Example("As a stream", {"model": ANY_MODEL, "input": "What is 17 + 25?", "stream": True}),
)
_ID = Parameter("response_id", "Any id.", "path", example="resp_1")


def _not_kept(method: str, path: str, summary: str) -> Operation:
    told = "Always 404: this server keeps no responses, and says so in every one (`store` is false)."
    statuses = (404, 413, *ALWAYS)
    return Operation(method, path, summary, told, failures(statuses), (_ID,), prefixes=PREFIXES)


RESPONSES = Group(
    "Responses",
    "OpenAI's newer API for the same answers. Nothing is kept between requests: send all of a conversation.",
    (
        Operation(
            "POST", "/responses", "Answer an input",
            "The model's answer to a text or a conversation, with images and tools as in chat completions.",
            (
                Reply(
                    200, "The response; with `stream` events, the last of which is `response.completed`, "
                    "`response.incomplete` or `error`.",
                    {JSON: ResponseObject, EVENT_STREAM: Stream((ResponseEvent,))}, TIMES,
                ),
                *failures(WORK),
            ),
            body=Body(ResponsesRequest, _EXAMPLES, refused=_REFUSED), prefixes=PREFIXES,
        ),
        Operation(
            "POST", "/responses/input_tokens", "Count an input's tokens",
            "How many tokens the same request would put to the model, with its images and tools.",
            (Reply(200, "The count.", {JSON: InputTokens}), *failures(WORK)),
            body=Body(ResponsesRequest, _EXAMPLES[:2], refused=_REFUSED), prefixes=PREFIXES,
        ),
        _not_kept("GET", "/responses/{response_id}", "Look for a response"),
        _not_kept("DELETE", "/responses/{response_id}", "Delete a response"),
        _not_kept("POST", "/responses/{response_id}/cancel", "Cancel a response"),
        _not_kept("GET", "/responses/{response_id}/input_items", "Look for a response's input"),
    ),
    _FIELDS,
)  # fmt: skip
