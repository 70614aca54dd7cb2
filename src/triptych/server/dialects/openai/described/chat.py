"""Chats, completions, models and tokens: what each is for, examples that work, and what it answers."""

from __future__ import annotations

from typing import Any

from ....operations import (
    ANY_MODEL,
    EVENT_STREAM,
    JSON,
    PICTURE,
    SEEING_MODEL,
    Body,
    Example,
    Group,
    Operation,
    Parameter,
    Reply,
    Stream,
)
from ..models import DetokenizeRequest, TokenizeRequest
from ..routes import PREFIXES
from ..wire import ChatRequest, CompletionRequest
from . import answers, samples
from .failures import ALWAYS, BODY, WORK, failures
from .fields import CHAT_REFUSED, COMPLETION_REFUSED, FIELDS

IMAGE = {"type": "image_url", "image_url": {"url": PICTURE}}
_COLOR = [IMAGE, {"type": "text", "text": "What color is the circle?"}]
_SHAPE = [IMAGE, {"type": "text", "text": "What shape is the red object?"}]
_QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]

TIMES = {
    "openai-processing-ms": "Milliseconds until the answer began.",
    "x-request-id": "What the log calls this request.",
}


def _generated(whole: Any, chunk: Any, sample: Any) -> tuple[Reply, ...]:
    stream = Stream((chunk, answers.ErrorAnswer), "[DONE]")
    about = (
        "The answer; with `stream` one event for each step, then `data: [DONE]`. A stream that fails ends with an "
        "error object."
    )
    return (Reply(200, about, {JSON: whole, EVENT_STREAM: stream}, TIMES, sample), *failures(WORK))


_CHAT = Operation(
    "POST", "/chat/completions", "Answer a conversation",
    "The model's next message in a conversation that may show images. Streams, log-probabilities, JSON by a schema, "
    "tools and seeds work with every model.",
    _generated(answers.ChatCompletion, answers.ChatCompletionChunk, samples.CHAT),
    body=Body(ChatRequest, refused=CHAT_REFUSED, examples=(
        Example("A question", {"model": ANY_MODEL, "messages": _QUESTION}),
        Example("About an image", {
            "model": SEEING_MODEL,
            "messages": [{"role": "user", "content": _COLOR}],
        }),
        Example("As a stream", {
            "model": ANY_MODEL, "messages": _QUESTION, "stream": True, "stream_options": {"include_usage": True},
        }),
        Example("JSON by a schema", {
            "model": ANY_MODEL, "messages": _QUESTION,
            "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "schema": {"type": "integer"}}},
        }),
        Example("One of several words", {
            "model": SEEING_MODEL,
            "messages": [{"role": "user", "content": _SHAPE}],
            "structured_outputs": {"choice": ["circle", "square", "triangle", "star", "cross"]},
        }),
    )),
    prefixes=PREFIXES,
)  # fmt: skip

_COMPLETION = Operation(
    "POST", "/completions", "Continue a text",
    "Continues raw prompts, without the model's chat template. Scores a prompt with `echo`, `logprobs` and "
    "`max_tokens: 0`.",
    _generated(answers.Completion, answers.Completion, samples.COMPLETION),
    body=Body(CompletionRequest, refused=COMPLETION_REFUSED, examples=(
        Example("One text", {
            "model": ANY_MODEL, "prompt": "[INST] What is 17 + 25? [/INST]", "max_tokens": 8, "temperature": 0,
        }),
        Example("Several, with log-probabilities", {
            "model": ANY_MODEL, "prompt": ["What is 17 + 25?", "add 3 and 40"], "max_tokens": 4, "logprobs": 2,
        }),
    )),
    prefixes=PREFIXES,
)  # fmt: skip

_MODEL_ID = Parameter("model", "A served name, with its slashes as they are.", "path", example=ANY_MODEL)

_MODELS = Operation(
    "GET", "/models", "List the served models",
    "Every served model with its aliases, its state and, once it has run, what it is.",
    (Reply(200, "The models.", {JSON: answers.ModelList}, sample=samples.MODELS), *failures(ALWAYS)),
    prefixes=PREFIXES,
)  # fmt: skip

_ONE_MODEL = Operation(
    "GET", "/models/{model:served}", "Describe one model", "The same of one model, by any of its names.",
    (Reply(200, "The model.", {JSON: answers.Model}, sample=samples.MODEL), *failures((404, *ALWAYS))),
    parameters=(_MODEL_ID,), prefixes=PREFIXES,
)  # fmt: skip

_TOKENIZE = Operation(
    "POST", "/tokenize", "Count and show tokens",
    "The token ids of a text, or of a conversation as its chat template puts it, with the tokens that its images "
    "become. vLLM's endpoint.",
    (Reply(200, "The tokens.", {JSON: answers.Tokens}, sample=samples.TOKENS), *failures(WORK)),
    body=Body(TokenizeRequest, examples=(
        Example("A text", {"model": ANY_MODEL, "prompt": "What is 17 + 25?", "return_token_strs": True}),
        Example("A conversation with an image", {
            "model": SEEING_MODEL,
            "messages": [{"role": "user", "content": _COLOR}],
        }),
    )),
    prefixes=PREFIXES,
)  # fmt: skip

_DETOKENIZE = Operation(
    "POST", "/detokenize", "Turn tokens into text", "The text of token ids. vLLM's endpoint.",
    (Reply(200, "The text.", {JSON: answers.Text}, sample=samples.TEXT), *failures(WORK)),
    body=Body(DetokenizeRequest, examples=(Example("Three tokens", {"model": ANY_MODEL, "tokens": [1, 100, 101]}),)),
    prefixes=PREFIXES,
)  # fmt: skip

_TOKENIZER = Operation(
    "GET", "/tokenizer_info", "Describe a tokenizer",
    "The special tokens and the chat template of a model, which is started if need be. vLLM's endpoint, as lm-eval "
    "asks for it.",
    (Reply(200, "The tokenizer.", {JSON: answers.TokenizerInfo}), *failures((400, 404, 500, 502, *ALWAYS))),
    parameters=(Parameter("model", "A served name; needed while several are served.", example=ANY_MODEL),),
    prefixes=PREFIXES,
)  # fmt: skip

_EMBEDDINGS = Operation(
    "POST", "/embeddings", "Embed (refused)",
    "No model here embeds. Clients that ask are told so, in place of a missing route.", failures(BODY),
    prefixes=PREFIXES,
)  # fmt: skip

GROUP = Group(
    "OpenAI",
    "What OpenAI's own clients call. Every optional field takes null, unknown fields are ignored, and a field whose "
    "promise cannot be kept is refused, never ignored. Where a model's authors recommend other values "
    "(`default_sampling` in its description), those are the defaults.",
    (_CHAT, _COMPLETION, _MODELS, _ONE_MODEL, _TOKENIZE, _DETOKENIZE, _TOKENIZER, _EMBEDDINGS),
    FIELDS,
)
