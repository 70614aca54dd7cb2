"""A response's instructions and input items to the conversation that the model sees."""

from __future__ import annotations

from typing import Any

from .content import Content, Said, read_conversation
from .errors import OpenAIError, invalid, missing, unsupported
from .wire import InputItem, Message, ResponsesRequest

_ROLES = ("system", "developer", "user", "assistant")
_KINDS = ("message", "function_call", "function_call_output", "reasoning")


def read_input(request: ResponsesRequest) -> Content:
    """The conversation. Raises OpenAIError for items that are none, with their path like `input[0].content[1]`."""
    if request.input is None or request.input == []:
        raise missing("input")
    said: list[Said] = []
    if request.instructions:
        said.append(Said(Message(role="system", content=request.instructions), "instructions", "instructions"))
    if isinstance(request.input, str):
        return read_conversation([*said, Said(Message(role="user", content=request.input), "input", "input")])
    said += _items(request.input)
    if all(each.message.role in ("system", "developer") for each in said):
        raise missing("input") if not said else invalid("input", "input needs a message of the user's.")
    return read_conversation(said)


def _items(items: list[InputItem]) -> list[Said]:
    """What the items say. Calls that stand side by side were made together, in one message."""
    said: list[Said] = []
    calls: list[dict[str, Any]] = []
    for number, item in enumerate(items):
        where = f"input[{number}]"
        kind = _kind(where, item)
        if kind == "reasoning":  # it comes back from other models; these do not think aloud
            continue
        if kind != "function_call":
            calls = []
            said.append(_message(where, item) if kind == "message" else _came_of(where, item))
            continue
        if not calls:
            said.append(Said(Message(role="assistant", tool_calls=calls), where, where))
        calls.append(_call(where, item))
    return said


def _kind(where: str, item: InputItem) -> str:
    """The item's type, also where it is left out."""
    kind = item.type or ("message" if item.role is not None else "item_reference" if item.id is not None else None)
    if kind is None:
        raise missing(f"{where}.type")
    if kind == "item_reference":
        raise unsupported(where, "refers to an item of an earlier response, and none is kept here; send the item.")
    if kind not in _KINDS:
        why = f"Input of type {kind!r:.80} is not supported; there are {', '.join(_KINDS)}."
        raise OpenAIError(why, f"{where}.type", "unsupported_value")
    return kind


def _message(where: str, item: InputItem) -> Said:
    if item.role is None:
        raise missing(f"{where}.role")
    if item.role not in _ROLES:
        raise invalid(f"{where}.role", f"Invalid role {item.role!r:.80}: there are {', '.join(_ROLES)}.")
    return Said(Message(role=item.role, content=item.content), where, f"{where}.content")


def _call(where: str, item: InputItem) -> dict[str, Any]:
    if not item.name:
        raise missing(f"{where}.name")
    return {"function": {"name": item.name, "arguments": item.arguments}}


def _came_of(where: str, item: InputItem) -> Said:
    if item.output is None:
        raise missing(f"{where}.output")
    if not isinstance(item.output, str | list):
        raise invalid(f"{where}.output", "The output of a function call must be a string or a list of content parts.")
    message = Message(role="tool", content=item.output, tool_call_id=item.call_id, name=item.name)
    return Said(message, where, f"{where}.output")
