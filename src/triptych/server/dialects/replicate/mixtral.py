"""Mixtral's inputs (those of any model that reads text only), and the prompt they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Any

from ....engine.errors import ParameterError
from ....engine.request import SamplingParams
from ...generation import ChatPrompt, RawPrompt
from .errors import RefusedError
from .inputs import Input

TEMPLATE = "<s>[INST] {prompt} [/INST] "
_NAMES = ("prompt", "system_prompt")
_BOS = "<s>"
_TOKENS = 512
_HOTTEST = 100.0

# The first eight are those of the model's first build, with its defaults; the others came with its last one.
INPUTS = (
    Input(name="prompt", kind="string", required=True, description="Prompt to send to the model."),
    Input(
        name="max_new_tokens", kind="integer", default=_TOKENS, minimum=1,
        description="The maximum number of tokens the model should generate as output.",
    ),
    Input(
        name="temperature", kind="number", default=0.6, minimum=0,
        description="The value used to modulate the next token probabilities.",
    ),
    Input(
        name="top_p", kind="number", default=0.9, minimum=0, maximum=1,
        description="A probability threshold for generating the output. If < 1.0, only keep the top tokens with "
        "cumulative probability >= top_p (nucleus filtering).",
    ),
    Input(
        name="top_k", kind="integer", default=50, minimum=-1,
        description="The number of highest probability tokens to consider for the next one. 0 and -1 mean all.",
    ),
    Input(
        name="presence_penalty", kind="number", default=0, minimum=-2, maximum=2,
        description="Presence penalty: above 0, words that were used already become less likely.",
    ),
    Input(
        name="frequency_penalty", kind="number", default=0, minimum=-2, maximum=2,
        description="Frequency penalty: above 0, words become less likely the more often they were used.",
    ),
    Input(
        name="prompt_template", kind="string", default=TEMPLATE,
        description="The template used to format the prompt. The input prompt is inserted into the template using the "
        "`{prompt}` placeholder, the system prompt using `{system_prompt}`.",
    ),
    Input(
        name="system_prompt", kind="string", default="",
        description="System prompt to send to the model. It goes before the first message unless the template has a "
        "place for it.",
    ),
    Input(name="max_tokens", kind="integer", minimum=1, description="Another name of max_new_tokens."),
    Input(
        name="min_new_tokens", kind="integer", minimum=-1,
        description="The minimum number of tokens the model should generate as output. To disable, set to -1.",
    ),
    Input(name="min_tokens", kind="integer", minimum=-1, description="Another name of min_new_tokens."),
    Input(
        name="length_penalty", kind="number", default=1, minimum=0, maximum=5,
        description="Accepted and without effect: it is a matter of beam search.",
    ),
    Input(
        name="stop_sequences", kind="texts",
        description="A comma-separated list of sequences to stop generation at.",
    ),
    Input(name="seed", kind="integer", description="Random seed. Leave blank to randomize the seed."),
)  # fmt: skip


def prompt_of(values: Mapping[str, Any], can_chat: bool = True) -> ChatPrompt | RawPrompt:
    """The prompt: a message in the checkpoint's own template, or the caller's template filled. Raises RefusedError."""
    prompt, system, template = values["prompt"], values["system_prompt"], values["prompt_template"]
    places = _places(template)
    if prompt and "prompt" not in places:
        raise RefusedError("E1003: BadPromptTemplate: the prompt_template has no place for the prompt, {prompt}")
    if system and "system_prompt" not in places:
        prompt = f"{system}\n\n{prompt}"  # there is no such role: it goes before what the user says
    if template == TEMPLATE and can_chat:
        if not prompt.strip():
            raise RefusedError("E1001: PromptRequired: the prompt is empty")
        return ChatPrompt([{"role": "user", "content": prompt}])
    text = template.format(prompt=prompt, system_prompt=system)
    if not text.strip():
        raise RefusedError("E1001: PromptRequired: the prompt is empty")
    return RawPrompt(text, add_bos=not text.startswith(_BOS))


def _places(template: str) -> set[str]:
    """The names in a template. Raises RefusedError for one that cannot be filled, or that asks for something else."""
    try:
        found = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(template)]
    except ValueError as error:
        raise RefusedError(f"E1004: PromptTemplateError: the prompt_template cannot be read: {error}") from None
    for name, spec, conversion in found:
        if name is not None and (name not in _NAMES or spec or conversion):
            raise RefusedError(
                f"E1004: PromptTemplateError: the prompt_template asks for {{{name[:40]}}}; there are {{prompt}} and "
                "{system_prompt}, and a brace itself is written twice"
            )
    return {name for name, _, _ in found if name is not None}


def params_of(values: Mapping[str, Any], given: Mapping[str, Any]) -> SamplingParams:
    """How to sample; `given` is what the caller said, without defaults. Raises RefusedError."""
    most, least = _limits(values, given)
    most_likely = values["top_p"] == 0
    try:
        return SamplingParams(
            max_tokens=most,
            min_tokens=least,
            temperature=min(_HOTTEST, float(values["temperature"])),
            top_p=float(values["top_p"]) or 1.0,
            top_k=1 if most_likely else max(0, values["top_k"]),
            presence_penalty=float(values["presence_penalty"]),
            frequency_penalty=float(values["frequency_penalty"]),
            stop=_stops(values["stop_sequences"]),
            seed=values["seed"],
        )
    except ParameterError as error:
        raise RefusedError(str(error)) from None


def _limits(values: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[int, int]:
    """Most and least tokens: of two names for one thing that differ, the newer one counts only by its default."""
    most, other = given.get("max_new_tokens"), given.get("max_tokens")
    if most is not None and other not in (None, most, _TOKENS):
        raise RefusedError("E1102: max_tokens and max_new_tokens are given and differ; they are two names of one limit")
    most = values["max_new_tokens"] if most is not None or other is None else values["max_tokens"]
    least, other = (max(0, values[name] or 0) for name in ("min_new_tokens", "min_tokens"))
    if least and other and least != other:
        raise RefusedError("E1101: min_tokens and min_new_tokens are given and differ; they are two names of one limit")
    return most, max(least, other)


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    texts = stop.split(",") if isinstance(stop, str) else stop or ()
    return tuple(dict.fromkeys(text for text in texts if text))
