"""LLaVA's inputs, and the conversation they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....engine.request import SamplingParams
from ...generation import ChatPrompt
from .errors import RefusedError
from .inputs import Input

IMAGE = "image"
_MARK = "<image>"
_GREEDY_BELOW = 0.001
_HOTTEST = 100.0

INPUTS = (
    Input(name=IMAGE, kind="string", uri=True, description="Input image"),
    Input(name="prompt", kind="string", required=True, description="Prompt to use for text generation"),
    Input(
        name="top_p", kind="number", default=1, minimum=0, maximum=1,
        description="When decoding text, samples from the top p percentage of most likely tokens; lower to ignore less "
        "likely tokens",
    ),
    Input(
        name="temperature", kind="number", default=0.2, minimum=0,
        description="Adjusts randomness of outputs, greater than 1 is random and 0 is deterministic",
    ),
    Input(
        name="max_tokens", kind="integer", default=1024, minimum=0,
        description="Maximum number of tokens to generate. A word is generally 2-3 tokens",
    ),
    Input(
        name="history", kind="array",
        description="List of earlier chat messages, alternating roles, starting with user input. Include `<image>` to "
        "specify which message to attach the image to.",
    ),
)  # fmt: skip


def prompt_of(values: Mapping[str, Any], shown: bool) -> ChatPrompt:
    """The conversation; `shown` says that there is an image. Raises RefusedError for more places than images."""
    turns = [*(values["history"] or ()), values["prompt"]]
    roles = ["assistant" if number % 2 else "user" for number in range(len(turns) - 1)] + ["user"]
    marks = sum(turn.count(_MARK) for turn in turns)
    if marks > 1:
        raise RefusedError(f"only one image token is allowed: {_MARK} stands {marks} times in prompt and history")
    if marks and not shown:
        raise RefusedError(f"{_MARK} stands in the prompt or the history, but no image was given")
    messages: list[dict[str, Any]] = []
    for number, (role, turn) in enumerate(zip(roles, turns, strict=True)):
        if role == "assistant" and _MARK in turn:
            raise RefusedError(f"{_MARK} may stand in the user's messages only")
        parts = _parts(turn, first=shown and not marks and number == 0)
        if messages and messages[-1]["role"] == role:  # a history that ends with a question
            messages[-1]["content"] = _joined(messages[-1]["content"], parts)
        else:
            messages.append({"role": role, "content": parts})
    return ChatPrompt([{**message, "content": _plain(message["content"])} for message in messages])


def _parts(turn: str, first: bool) -> list[dict[str, str]]:
    """A turn with the image where it is marked, or else `first` of all."""
    before, marked, behind = turn.partition(_MARK)
    if not marked:
        text = [{"type": "text", "text": turn}]
        return [{"type": "image"}, *text] if first else text
    # Templates begin a new line behind an image.
    texts = [{"type": "text", "text": text} if text.strip() else None for text in (before, behind.removeprefix("\n"))]
    return [part for part in (texts[0], {"type": "image"}, texts[1]) if part is not None]


def _joined(before: list[dict[str, str]], behind: list[dict[str, str]]) -> list[dict[str, str]]:
    if before[-1]["type"] == behind[0]["type"] == "text":
        text = f"{before[-1]['text']}\n{behind[0]['text']}"
        return [*before[:-1], {"type": "text", "text": text}, *behind[1:]]
    return [*before, *behind]


def _plain(parts: list[dict[str, str]]) -> str | list[dict[str, str]]:
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def params_of(values: Mapping[str, Any]) -> SamplingParams:
    """How to sample. Raises RefusedError where nothing can be generated."""
    if values["max_tokens"] < 1:
        raise RefusedError("max_tokens is 0: there is nothing to generate")
    cold = values["temperature"] <= _GREEDY_BELOW
    return SamplingParams(
        max_tokens=values["max_tokens"],
        temperature=0.0 if cold else min(_HOTTEST, float(values["temperature"])),
        top_p=float(values["top_p"]) or 1.0,
        top_k=0 if values["top_p"] else 1,
    )
