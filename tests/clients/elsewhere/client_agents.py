"""openai-agents 0.24 with its default model class, which speaks the Responses API."""

import asyncio
import json
from typing import Literal

import agents
import pytest
from openai import AsyncOpenAI

SUM = "What is 17 + 25?"


@pytest.fixture(autouse=True)
def client(url):
    agents.set_tracing_disabled(True)
    agents.set_default_openai_client(AsyncOpenAI(base_url=url, api_key="any"), use_for_tracing=False)


def shown(drawn, question):
    image = {"type": "input_image", "image_url": drawn.data_uri, "detail": "auto"}
    return [{"role": "user", "content": [{"type": "input_text", "text": question}, image]}]


async def streamed(agent, asked):
    """The result of a streamed run, and the kinds of events on the way."""
    result = agents.Runner.run_streamed(agent, asked)
    return result, {event.type async for event in result.stream_events()}


def forced(tool, **more):
    """An agent that must call `tool` before it answers."""
    settings = agents.ModelSettings(temperature=0, max_tokens=200, tool_choice="required", parallel_tool_calls=False)
    tools = [agents.function_tool(tool)]
    return agents.Agent("caller", model="mixtral-8x7b", tools=tools, model_settings=settings, **more)


def test_an_agent_is_asked_about_a_picture(drawn):
    settings = agents.ModelSettings(temperature=0)
    agent = agents.Agent("looker", model="llava-1.6-mistral-7b", model_settings=settings)

    async def both():
        return await agents.Runner.run(agent, shown(drawn, drawn.question)), *await streamed(
            agent, shown(drawn, drawn.question)
        )

    whole, stream, kinds = asyncio.run(both())
    assert whole.final_output == stream.final_output == drawn.color
    assert "raw_response_event" in kinds


@pytest.mark.parametrize("stream", [False, True])
def test_an_agent_calls_its_tool(stream):
    called = []

    def add(a: Literal[3, 17], b: Literal[4, 25]) -> str:
        """Add two of a few whole numbers."""
        called.append((a, b))
        return str(a + b)

    agent = forced(add, tool_use_behavior="stop_on_first_tool")
    result = asyncio.run(streamed(agent, SUM))[0] if stream else asyncio.run(agents.Runner.run(agent, SUM))
    [(a, b)] = called
    assert a in (3, 17)
    assert b in (4, 25)
    assert result.final_output == str(a + b)


def test_an_agent_goes_on_after_its_tool():
    """The call and what came of it go back, and an answer comes of them."""
    called = []

    def note(done: bool) -> str:
        """Take a note."""
        called.append(done)
        return "noted"

    result = asyncio.run(agents.Runner.run(forced(note), SUM))
    assert len(called) == 1
    assert [item.type for item in result.new_items] == [
        "tool_call_item", "tool_call_output_item", "message_output_item",
    ]  # fmt: skip
    assert result.final_output == result.raw_responses[-1].output[0].content[0].text
    assert json.dumps(result.to_input_list())
