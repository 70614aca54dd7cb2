"""The response object of the Responses API, and the items of its output."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ....engine.request import Usage
from ...accounts.cost import usd_float
from ...backend import Backend
from ...metered import MeteredRun
from .form import now
from .tools import Tools
from .wire import ResponsesRequest, TextFormat


@dataclass(slots=True)
class Response:
    """One response under way, with all that its answer needs. `request` has the model's defaults where the caller said
    nothing; `params` are the paths of its images; `form` is where the demanded form of the text comes from.
    """

    request: ResponsesRequest
    model: Backend
    run: MeteredRun
    tools: Tools
    params: list[str]
    form: str
    id: str = field(default_factory=lambda: new_id("resp"))
    created: int = field(default_factory=now)

    def body(
        self, status: str = "in_progress", output: Sequence[dict[str, Any]] = (), usage: Usage | None = None,
        cost_nano: int | None = None,
    ) -> dict[str, Any]:
        """The response object in one of its states: in_progress, completed or incomplete."""
        request = self.request
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": cut,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "metadata": request.metadata or {},
            "model": self.model.name,
            "output": list(output),
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": None,
            "service_tier": None,
            "store": False,
            "temperature": 1.0 if request.temperature is None else request.temperature,
            "text": {"format": _format(request.text.format if request.text else None)},
            "tool_choice": _choice(request, self.tools),
            "tools": msgspec.to_builtins(request.tools or []),
            "top_logprobs": request.top_logprobs or 0,
            "top_p": 1.0 if request.top_p is None else request.top_p,
            "truncation": request.truncation or "disabled",
            "usage": None if usage is None else _usage(usage, cost_nano),
            "user": request.user,
        }


def new_id(prefix: str) -> str:
    """An id in the spelling of this API's."""
    return f"{prefix}_{secrets.token_hex(24)}"


def status_of(finish_reason: str | None) -> str:
    """A text that ended by itself is complete, one that was cut is not."""
    return "completed" if finish_reason == "stop" else "incomplete"


def message(id: str, status: str, content: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": list(content)}


def text_part(text: str = "", logprobs: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def call_item(call: dict[str, Any]) -> dict[str, Any]:
    """A chat's tool call as an output item."""
    function = call["function"]
    return {
        "id": new_id("fc"),
        "type": "function_call",
        "status": "completed",
        "call_id": call["id"],
        "name": function["name"],
        "arguments": function["arguments"],
    }


def _format(wanted: TextFormat | None) -> dict[str, Any]:
    if wanted is None or wanted.type != "json_schema":
        return {"type": "text" if wanted is None else wanted.type}
    return {
        "type": "json_schema",
        "name": wanted.name or "response",
        "schema": wanted.schema or {},
        "strict": wanted.strict,
        "description": wanted.description,
    }


def _choice(request: ResponsesRequest, tools: Tools) -> str | dict[str, Any]:
    """What was chosen among the tools, in this API's spelling whatever the caller's was."""
    choice = request.tool_choice or "auto"
    if isinstance(choice, str):
        return choice
    named = [{"type": "function", "name": tool.name} for tool in tools.tools]
    if choice.get("type") != "allowed_tools":
        return dict(named[0])
    return {"type": "allowed_tools", "mode": "required" if tools.forced else "auto", "tools": named}


def _usage(usage: Usage, cost_nano: int | None) -> dict[str, Any]:
    prompt, image = usage.prompt_tokens, usage.image_tokens
    cached = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0}
    cost = {} if cost_nano is None else {"cost": usd_float(cost_nano)}
    return cost | {
        "input_tokens": prompt,
        "input_tokens_details": {**cached, "image_tokens": image, "text_tokens": prompt - image},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + usage.completion_tokens,
    }
