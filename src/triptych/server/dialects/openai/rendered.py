"""Prompts of LLaVA 1.5 that callers rendered themselves: `"USER: <image>\\nWhat is it?\\nASSISTANT:"` as a user's text.

That is the form in which the pages of hosted LLaVA 1.5 tell people to ask. It is read back into the conversation that
it spells, which the model's own template renders: nothing is wrapped twice, and spelled special tokens stay text.
"""

from __future__ import annotations

import re
from typing import Any

from ...backend import Backend
from ...generation import ModelInfo
from ...service import Service

_ARCHITECTURE = "llava"
# A cue begins a text or stands behind white space or an end token.
_CUE = re.compile(r"(?:\s*</s>\s*|\s+|^)(USER|ASSISTANT):\s*")
_IMAGE = {"type": "image"}


async def unwrapped(service: Service, model: Backend, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`messages` for `model`, read back if they are a rendered prompt; the log tells it once for each model."""
    spelled = read_back(messages, await service.ready(model))
    if spelled is not messages:
        service.say_once(
            f"{model.name}: a prompt spells its turns (USER: ... ASSISTANT:); it is taken as rendered already, and so "
            "are those like it"
        )
    return spelled


def read_back(messages: list[dict[str, Any]], info: ModelInfo) -> list[dict[str, Any]]:
    """`messages` in the engine's form; if they are one text of the user that is a rendered prompt, and the model is
    LLaVA 1.5, the conversation in it. Images keep their order and stay in the question where they stand.
    """
    if info.architecture != _ARCHITECTURE or [message["role"] for message in messages] != ["user"]:
        return messages
    content = messages[0]["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    texts = [part["text"] for part in parts if part["type"] == "text"]
    if not texts or not texts[0].lstrip().startswith("USER:") or not texts[-1].rstrip().endswith("ASSISTANT:"):
        return messages
    turns = _turns(parts)
    roles = [role for role, _ in turns]
    in_turn = roles == ["user", "assistant"] * (len(roles) // 2)
    shown_to_answer = any(_IMAGE in said for role, said in turns if role == "assistant")
    if not in_turn or shown_to_answer:
        return messages
    return [{"role": role, "content": _content(role, said)} for role, said in turns[:-1]]


def _turns(parts: list[dict[str, str]]) -> list[tuple[str, list[dict[str, str]]]]:
    """What each cue is followed by. Images before the first cue belong to the first question."""
    turns: list[tuple[str, list[dict[str, str]]]] = []
    waiting: list[dict[str, str]] = []
    for part in parts:
        if part["type"] == "image":
            (turns[-1][1] if turns else waiting).append(part)
            continue
        before, *cued = _CUE.split(part["text"].strip())
        if turns and before:
            turns[-1][1].append({"type": "text", "text": before})
        for role, said in zip(cued[::2], cued[1::2], strict=True):
            turns.append((role.lower(), [*waiting, *([{"type": "text", "text": said}] if said else [])]))
            waiting = []
    return turns


def _content(role: str, said: list[dict[str, str]]) -> str | list[dict[str, str]]:
    if role == "assistant" or all(part["type"] == "text" for part in said):
        return "\n".join(part["text"] for part in said)
    return said
