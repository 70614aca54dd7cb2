"""Streams of chat completions as they cross, byte for byte."""

import asyncio
import json
import re

import pytest
from http_calls import Reply, ask
from servers import null_models, serving


def expected(reply: Reply, choices: list[str], usage: str | None) -> bytes:
    """The bytes of a stream, from its id and time and what the chunks say."""
    first = json.loads(reply.events[0].removeprefix(b"data: "))
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{24}", first["id"])
    assert isinstance(first["created"], int)
    head = f'data: {{"id":"{first["id"]}","object":"chat.completion.chunk","created":{first["created"]},'
    head += '"model":"eye","system_fingerprint":"fp_null","choices":'
    tail = ',"usage":null}\n\n' if usage else "}\n\n"
    events = [f"{head}[{choice}]{tail}" for choice in choices]
    if usage:
        events.append(f'{head}[],"usage":{usage}}}\n\n')
    return ("".join(events) + "data: [DONE]\n\n").encode()


def step(delta: str, index: int = 0, finish: str = "null") -> str:
    return f'{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":{finish}}}'


ROLE = '{"role":"assistant","content":""}'


def test_a_stream_byte_for_byte(server):
    reply = ask(server.url, "a ü", stream=True)
    assert reply.status == 200
    wanted = {
        "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no",
        "transfer-encoding": "chunked",
    }  # fmt: skip
    assert {name: reply.headers[name] for name in wanted} == wanted
    assert reply.headers["x-request-id"].startswith("req_")
    assert "content-encoding" not in reply.headers
    texts = ['{"content":"a"}', '{"content":" ü"}']
    choices = [step(ROLE), *map(step, texts), step("{}", 0, '"stop"')]
    assert reply.body == expected(reply, choices, None)
    # Options of a stream with nothing in them are as if there were none.
    for options in (None, {}, {"include_usage": False}, {"include_usage": None, "include_obfuscation": True}):
        assert len(ask(server.url, "a ü", stream=True, stream_options=options).events) == 5


def test_a_stream_with_usage_byte_for_byte(server):
    reply = ask(server.url, "a", stream=True, stream_options={"include_usage": True}, max_tokens=1)
    usage = (
        '{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,'
        '"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0,"image_tokens":0,"text_tokens":1},'
        '"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,'
        '"rejected_prediction_tokens":0}}'
    )
    choices = [step(ROLE), step('{"content":"a"}'), step("{}", 0, '"stop"')]
    assert reply.body == expected(reply, choices, usage)


def test_a_stream_of_three_choices_byte_for_byte(server):
    reply = ask(server.url, "a b", stream=True, n=3, max_tokens=1)
    choices = [
        each
        for index in range(3)
        for each in (step(ROLE, index), step('{"content":"a"}', index), step("{}", index, '"length"'))
    ]
    assert reply.body == expected(reply, choices, None)


def test_running_usage_only_if_it_is_asked_for(server):
    options = {"include_usage": True, "continuous_usage_stats": True}
    *chunks, last = ask(server.url, stream=True, stream_options=options).chunks
    totals = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert totals == [1, 1, 2, 3, 3]
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {3}
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 6)
    without = ask(server.url, stream=True, stream_options={"continuous_usage_stats": True}).chunks
    assert not any("usage" in chunk for chunk in without)


@pytest.mark.parametrize("fields", [{}, {"n": 3}, {"max_tokens": 2}, {"logprobs": True, "top_logprobs": 1}])
def test_a_stream_adds_up_to_the_whole_answer(server, fields):
    whole = ask(server.url, **fields).json
    chunks = ask(server.url, stream=True, stream_options={"include_usage": True}, **fields).chunks
    assert chunks[-1]["usage"] == whole["usage"]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    for choice in whole["choices"]:
        mine = [each for chunk in chunks for each in chunk["choices"] if each["index"] == choice["index"]]
        assert mine[0]["delta"]["role"] == "assistant"
        assert sum("role" in each["delta"] for each in mine) == 1
        assert "".join(each["delta"].get("content", "") for each in mine) == choice["message"]["content"]
        assert [each["finish_reason"] for each in mine if each["finish_reason"]] == [choice["finish_reason"]]
        entries = [entry for each in mine if each["logprobs"] for entry in each["logprobs"]["content"]]
        assert entries == (choice["logprobs"] or {"content": []})["content"]


# ---- tools ----------------------------------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def test_tools_whole_and_in_a_stream():
    said = '{"name": "add", "arguments": {"a": 1}}'
    with serving(null_models(answer=said)) as server:
        choice = ask(server.url, tools=[TOOL]).json["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        [called] = choice["message"]["tool_calls"]
        assert called["function"] == {"name": "add", "arguments": '{"a": 1}'}
        role, delta, last = ask(server.url, tools=[TOOL], stream=True).chunks
        assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        [call_] = delta["choices"][0]["delta"]["tool_calls"]
        assert (call_["index"], call_["function"]) == (0, called["function"])
        assert last["choices"][0]["finish_reason"] == "tool_calls"
        # Without tools, or cut short, it is a text.
        assert ask(server.url).json["choices"][0]["message"]["content"] == said
        cut = ask(server.url, tools=[TOOL], max_tokens=2).json["choices"][0]
        assert (cut["finish_reason"], cut["message"]["content"]) == ("length", '{"name": "add",')


def test_many_at_once(server):
    async def one(number: int) -> str:
        reply = await asyncio.to_thread(ask, server.url, f"number {number}", stream=number % 2 == 0)
        if number % 2:
            return reply.json["choices"][0]["message"]["content"]
        return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in reply.chunks)

    async def all_() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(40)))

    assert asyncio.run(all_()) == [f"number {number}" for number in range(40)]
