"""langchain-openai 1.7: chats, streams with usage, pictures, structured output, tools, errors."""

import asyncio

import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import APIError
from pydantic import BaseModel

SUM = "What is 17 + 25?"


class Verdict(BaseModel):
    """Whether a sum is right."""

    right: bool
    certain: bool


@tool
def judge(right: bool) -> str:
    """Judges a sum."""
    return str(right)


@pytest.fixture
def chat(url):
    def chat(model: str, **more) -> ChatOpenAI:
        return ChatOpenAI(model=model, base_url=url, api_key="any", temperature=0, max_retries=0, **more)

    return chat


def test_a_sum(chat, mixtral):
    answer = chat(mixtral, max_tokens=20).invoke(SUM)
    assert answer.content == "42"
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == mixtral
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


def test_usage_of_a_stream_is_counted_once(chat, mixtral):
    model = chat(mixtral, max_tokens=20, stream_usage=True)
    chunks = list(model.stream(SUM))
    added = chunks[0]
    for chunk in chunks[1:]:
        added += chunk
    assert added.content == "42"
    whole = model.invoke(SUM).usage_metadata
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert added.usage_metadata[name] == whole[name]


async def stream(model, question):
    return "".join([chunk.content async for chunk in model.astream(question)])


def test_an_asynchronous_stream(chat, mixtral):
    assert asyncio.run(stream(chat(mixtral), "What is 5 + 6?")) == "11"


def test_a_picture(chat, llava, drawn):
    parts = [{"type": "text", "text": drawn.question}, {"type": "image_url", "image_url": {"url": drawn.data_uri}}]
    assert chat(llava).invoke([HumanMessage(parts)]).content == drawn.color
    # LangChain's own form of a picture.
    own = {"type": "image", "base64": drawn.data_uri.partition(",")[2], "mime_type": "image/png"}
    assert chat(llava).invoke([HumanMessage([parts[0], own])]).content == drawn.color


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat, mixtral, method):
    structured = chat(mixtral, max_tokens=200).with_structured_output(Verdict, method=method, include_raw=True)
    answer = structured.invoke(SUM)
    assert answer["parsing_error"] is None
    assert isinstance(answer["parsed"], Verdict)


def test_tools(chat, mixtral):
    answer = chat(mixtral, max_tokens=200).bind_tools([judge], tool_choice="any").invoke(SUM)
    assert answer.tool_calls
    for call in answer.tool_calls:
        assert (call["name"], list(call["args"])) == ("judge", ["right"])
        assert judge.invoke(call["args"]) in ("True", "False")
    streamed = None
    for chunk in chat(mixtral, max_tokens=200).bind_tools([judge], tool_choice="judge").stream(SUM):
        streamed = chunk if streamed is None else streamed + chunk
    [call] = streamed.tool_calls
    assert (call["name"], list(call["args"])) == ("judge", ["right"])


def test_an_overflow_is_recognised(chat, mixtral, too_long):
    with pytest.raises(ContextOverflowError):
        chat(mixtral).invoke(too_long)


def test_an_answer_that_breaks_off_is_an_error(chat):
    stream = chat("dying").stream("one two three four five")
    assert next(text for chunk in stream if (text := chunk.content)) == "one"
    with pytest.raises(APIError, match="died while it was answering"):
        list(stream)
