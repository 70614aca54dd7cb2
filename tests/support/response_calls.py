"""Calls of the Responses API; whatever comes back is held against the types of OpenAI's own client, strictly."""

from __future__ import annotations

import json
from typing import Any, get_args

from http_calls import Reply, call
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

PATH = "/v1/responses"
EVENTS: dict[str, type[BaseModel]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])
}
# What the published schema demands of a response, also where the client's types are lenient.
REQUIRED = {
    "id", "object", "created_at", "status", "error", "incomplete_details", "instructions", "metadata", "model",
    "output", "parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p", "usage", "store",
}  # fmt: skip


def respond(url: str, input: Any = "a b c", model: str = "eye", path: str = PATH, **fields: Any) -> Reply:
    return call(url, "POST", path, {"model": model, "input": input, **fields})


def answer(reply: Reply) -> dict[str, Any]:
    """The response object of a whole answer."""
    assert reply.status == 200, reply.body
    checked(reply.json)
    return reply.json


def checked(body: dict[str, Any]) -> Response:
    """A response object as the client knows it."""
    assert body.keys() >= REQUIRED
    return Response.model_validate_json(json.dumps(body), strict=True)


def events(reply: Reply) -> list[dict[str, Any]]:
    """The events of a stream, comments left out; their names, numbers and types are checked."""
    assert reply.status == 200, reply.body
    told = [read_event(event) for event in reply.events if not event.startswith(b":")]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    return told


def read_event(event: bytes) -> dict[str, Any]:
    name, data = event.split(b"\n")
    body = json.loads(data.removeprefix(b"data: "))
    assert name == b"event: " + body["type"].encode()
    EVENTS[body["type"]].model_validate_json(data.removeprefix(b"data: "), strict=True)
    if "response" in body:
        checked(body["response"])
    return body


def types(told: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in told]


def text_of(told: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta")
