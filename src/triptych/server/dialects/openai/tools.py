"""Tools: shown to the model in words, called in a form that is forced on it, answered as OpenAI's tool calls.

None of the models here was trained to call tools. So `required` and a named tool constrain the text to
`{"name": ..., "arguments": ...}`, which works with any model; with `auto` a text that happens to have that form is a
call.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ....engine.request import Constraint
from .closing import closed
from .constraints import schema
from .content import Content
from .errors import invalid, unsupported
from .wire import ChatRequest, FlatTool, ResponsesRequest

_MOST_CALLS = 8


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of one request. `forced` says that a call must come, `several` that more than one may."""

    tools: tuple[Tool, ...] = ()
    forced: bool = False
    several: bool = False

    @classmethod
    def of(cls, request: ChatRequest) -> Tools:
        """Raises OpenAIError for tools that are none, and for a choice that is not among them."""
        if request.functions or request.function_call not in (None, "none", "auto"):
            raise unsupported("functions", "is replaced by tools.")
        tools = tuple(_read(number, tool) for number, tool in enumerate(request.tools or []))
        return cls.chosen(tools, request.tool_choice, request.parallel_tool_calls is not False)

    @classmethod
    def flat(cls, request: ResponsesRequest) -> Tools:
        """As `of`, for tools without an object around the function."""
        tools = tuple(_read_flat(number, tool) for number, tool in enumerate(request.tools or []))
        return cls.chosen(tools, request.tool_choice, request.parallel_tool_calls is not False)

    @classmethod
    def chosen(cls, tools: tuple[Tool, ...], choice: str | dict[str, Any] | None, several: bool) -> Tools:
        """Those of `tools` that `choice` lets the model see. Raises OpenAIError for a choice that is not among them."""
        choice = choice or "auto"
        if not tools:
            if choice not in ("none", "auto"):
                raise invalid("tool_choice", "tool_choice needs tools.")
            return cls()
        if isinstance(choice, str):
            if choice not in ("none", "auto", "required"):
                why = f"tool_choice must be none, auto, required or a function, not {choice!r:.80}."
                raise invalid("tool_choice", why)
            return cls() if choice == "none" else cls(tools, choice == "required", several)
        return cls._by_name(tools, choice, several)

    @classmethod
    def _by_name(cls, tools: tuple[Tool, ...], choice: dict[str, Any], several: bool) -> Tools:
        if choice.get("type") == "allowed_tools":
            inner = choice.get("allowed_tools")
            allowed = inner if isinstance(inner, dict) else choice
            listed = allowed.get("tools")
            names = [_name(tool) for tool in listed] if isinstance(listed, list) else []
            return cls(_named(tools, names), allowed.get("mode") == "required", several)
        return cls(_named(tools, [_name(choice)]), True, False)

    @property
    def constraint(self) -> Constraint | None:
        """What a forced call must look like."""
        if not self.forced:
            return None
        place = "#/items" if self.several else "#"
        alone = len(self.tools) == 1
        calls = [
            _call_schema(tool, place if alone else f"{place}/anyOf/{number}") for number, tool in enumerate(self.tools)
        ]
        one: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
        if self.several:
            one = {"type": "array", "items": one, "minItems": 1, "maxItems": _MOST_CALLS}
        return Constraint("json_schema", one)

    def show(self, content: Content) -> None:
        """Tell the model of the tools, in its system message."""
        if not self.tools:
            return
        lines = ["You can call these functions:"]
        for tool in self.tools:
            about = f"{tool.description} " if tool.description else ""
            lines.append(f"- {tool.name}: {about}Arguments: {json.dumps(tool.parameters, ensure_ascii=False)}")
        must = "Call one" if self.forced else "To call one"
        lines.append(must + ' with {"name": ..., "arguments": ...} and nothing else.')
        text = "\n".join(lines)
        if content.messages[0]["role"] == "system":
            content.messages[0]["content"] = f"{content.messages[0]['content']}\n\n{text}"
        else:
            content.messages.insert(0, {"role": "system", "content": text})

    def calls(self, text: str) -> list[dict[str, Any]] | None:
        """The tool calls that `text` is; None if it is not."""
        if not self.tools or text.lstrip()[:1] not in ("{", "["):
            return None
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return None
        said = said if isinstance(said, list) else [said]
        names = [tool.name for tool in self.tools]
        if not said or not all(isinstance(call, dict) and call.get("name") in names for call in said):
            return None
        return [
            {
                "id": f"call_{secrets.token_hex(12)}",
                "type": "function",
                "function": {
                    "name": call["name"],
                    "arguments": json.dumps(call.get("arguments") or {}, ensure_ascii=False),
                },
            }
            for call in said
        ]

    def holder(self) -> Holder:
        return Holder(self)


class Holder:
    """Text of one choice on its way into a stream: held back while it may be a call, which goes out whole."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._held = ""
        self._holding = bool(tools.tools)
        self.called = False

    def push(self, text: str, finish: str | None) -> dict[str, Any] | None:
        """The delta that can go out; `finish` is why this text is the last one. A text that was cut is no call."""
        if not self._holding:
            return {"content": text} if text else None
        self._held += text
        begun = self._held.lstrip()[:1]
        if begun and begun not in "{[" and not self._tools.forced:
            self._holding = False
        elif finish is None:
            return None
        held, self._held = self._held, ""
        calls = self._tools.calls(held) if finish == "stop" else None
        if calls is not None:
            self.called = True
            return {"tool_calls": [{"index": number, **call} for number, call in enumerate(calls)]}
        return {"content": held} if held else None


def _read(number: int, tool: dict[str, Any]) -> Tool:
    where = f"tools[{number}]"
    if tool.get("type", "function") != "function":
        raise unsupported(f"{where}.type", "must be function.")
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise invalid(f"{where}.function", "A tool needs a function with a name.")
    parameters = _parameters(function.get("parameters"), f"{where}.function.parameters")
    return Tool(function["name"], str(function.get("description") or ""), parameters)


def _read_flat(number: int, tool: FlatTool) -> Tool:
    where = f"tools[{number}]"
    if tool.type != "function":
        raise unsupported(f"{where}.type", f"must be function; there are no tools of type {tool.type!r:.80} here.")
    if tool.name is None:
        raise invalid(f"{where}.name", "A function needs a name.")
    return Tool(tool.name, tool.description or "", _parameters(tool.parameters, f"{where}.parameters"))


def _parameters(given: Any, where: str) -> dict[str, Any]:
    if given is None or given == {}:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    if not isinstance(given, dict):
        raise invalid(where, "The parameters of a function must be a JSON schema.")
    schema(given, where)
    return given


def _name(tool: Any) -> Any:
    """The name in `{"function": {"name": ...}}` or `{"name": ...}`, whatever it is."""
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def _named(tools: tuple[Tool, ...], names: Sequence[Any]) -> tuple[Tool, ...]:
    known = [tool.name for tool in tools]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"{unknown[0]!r:.80}" if unknown else "no tool"
        raise invalid("tool_choice", f"tool_choice names {what}, which is not in tools.")
    return tuple(tool for tool in tools if tool.name in names)


def _call_schema(tool: Tool, place: str) -> dict[str, Any]:
    """What a call of `tool` looks like; `place` is where this schema stands in the whole one."""
    return {
        "type": "object",
        "properties": {
            "name": {"const": tool.name},
            "arguments": _moved(closed(tool.parameters), f"{place}/properties/arguments"),
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, place: str) -> Any:
    """A schema whose references to itself hold when it stands at `place` of another one."""
    if isinstance(schema, list):
        return [_moved(part, place) for part in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, place) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved
