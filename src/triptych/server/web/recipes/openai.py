"""Calls as programs for OpenAI's clients: chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .call import Call, Language, Turn, Written
from .door import ANY, Door
from .programs import Files, program

# What OpenAI's Python client has as arguments; what this server takes beside them goes into `extra_body` there.
ARGUMENTS = frozenset({
    "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "metadata", "n",
    "parallel_tool_calls", "presence_penalty", "response_format", "seed", "stop", "stream_options", "temperature",
    "tool_choice", "tools", "top_logprobs", "top_p", "user",
})  # fmt: skip
# What the call itself says.
_OURS = ("model", "messages", "stream")
_KEY = "OPENAI_API_KEY"
_INSTALL: Mapping[Language, str] = {
    "python": "pip install openai", "javascript": "npm install openai", "curl": "",
}  # fmt: skip


def write(call: Call, language: Language, door: Door) -> Written:
    """The call as a program that prints the answer."""
    files = Files(call.images)
    given = {name: value for name, value in call.parameters.items() if value is not None and name not in _OURS}
    client: dict[str, Any] = {}
    if language == "python":
        extra = {name: value for name, value in given.items() if name not in ARGUMENTS}
        given = {name: value for name, value in given.items() if name in ARGUMENTS}
        given |= {"extra_body": extra} if extra else {}
        client = {"base_url": door.v1} | ({} if door.key else {"api_key": ANY})
    elif language == "javascript":
        client = {"baseURL": door.v1} | ({} if door.key else {"apiKey": ANY})
    body = {"model": call.model, "messages": _messages(call, language, files), **given}
    body |= {"stream": True} if call.stream else {}
    code = program(f"openai.{language}", door=door, client=client, files=files, body=body, stream=call.stream)
    # Both clients find the key in its variable by themselves.
    return Written(code, needs=door.needs(_INSTALL[language], key=_KEY))


def _messages(call: Call, language: Language, files: Files) -> list[dict[str, Any]]:
    said = [{"role": turn.role, "content": _content(turn, language, files)} for turn in call.turns]
    system: list[dict[str, Any]] = [{"role": "system", "content": call.system}] if call.system else []
    return [*system, *said]


def _content(turn: Turn, language: Language, files: Files) -> str | list[dict[str, Any]]:
    if not turn.images:
        return turn.text
    urls = [files.value(image, language) for image in turn.images]
    return [
        *({"type": "image_url", "image_url": {"url": url}} for url in urls),
        {"type": "text", "text": turn.text},
    ]
