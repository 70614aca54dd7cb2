"""Streams of responses as they cross, byte for byte; and streams that do not come to their end."""

import json
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest
from http_calls import Reply, sent
from response_calls import PATH, answer, events, read_event, respond, text_of, types
from servers import Running, null_models, serving

from triptych.engine.errors import ImageError
from triptych.engine.request import Usage
from triptych.replica.protocol import End, Logprob, Piece
from triptych.server.dialects.openai.response_events import ResponseStream
from triptych.server.dialects.openai.response_form import Response
from triptych.server.dialects.openai.tools import Tools
from triptych.server.dialects.openai.wire import FlatTool, ResponsesRequest

ADD = {"type": "function", "name": "add", "parameters": {"type": "object"}}
CALL = '{"name": "add", "arguments": {"a": 1}}'
MESSAGE = ["created", "in_progress", "output_item.added", "content_part.added"]
MESSAGE_END = ["output_text.done", "content_part.done", "output_item.done"]
CALLED = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]


def stream(url: str, input: object = "a b c", **fields: object) -> Reply:
    return respond(url, input, stream=True, **fields)


# ---- the bytes ------------------------------------------------------------------------------------------------------

BODY = (
    '{"id":"%(id)s","object":"response","created_at":%(at)d,"completed_at":%(end)s,"status":"%(status)s",'
    '"background":false,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,'
    '"metadata":{},"model":"eye","output":%(output)s,"parallel_tool_calls":true,"previous_response_id":null,'
    '"reasoning":null,"service_tier":null,"store":false,"temperature":1.0,"text":{"format":{"type":"text"}},'
    '"tool_choice":"auto","tools":%(tools)s,"top_logprobs":0,"top_p":1.0,"truncation":"disabled","usage":%(usage)s,'
    '"user":null}'
)
USAGE = (
    '{"input_tokens":%d,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0,"image_tokens":0,'
    '"text_tokens":%d},"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}'
)
ITEM = '"output_index":0,"item":{"id":"%s","type":"message","status":"%s","role":"assistant","content":[%s]}'
PART = '"part":{"type":"output_text","text":"%s","annotations":[],"logprobs":[]}'


def framed(steps: list[tuple[str, str]]) -> bytes:
    return "".join(
        f'event: response.{name}\ndata: {{"type":"response.{name}","sequence_number":{number},{fields}}}\n\n'
        for number, (name, fields) in enumerate(steps)
    ).encode()


def test_a_stream_byte_for_byte(server):
    reply = stream(server.url, "a ü")
    wanted = {
        "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no",
        "transfer-encoding": "chunked", "openai-version": "2020-10-01",
    }  # fmt: skip
    assert {name: reply.headers[name] for name in wanted} == wanted
    told = events(reply)
    last = told[-1]["response"]
    known = {"id": last["id"], "at": last["created_at"], "tools": "[]"}
    begun = {**known, "end": "null", "status": "in_progress", "output": "[]", "usage": "null"}
    item = last["output"][0]["id"]
    place = f'"item_id":"{item}","output_index":0,"content_index":0'
    whole = '{"type":"output_text","text":"a ü","annotations":[],"logprobs":[]}'
    output = f'[{{"id":"{item}","type":"message","status":"completed","role":"assistant","content":[{whole}]}}]'
    over = {**known, "end": last["completed_at"], "status": "completed", "output": output}
    over["usage"] = USAGE % (2, 2, 2, 4)
    assert reply.body == framed([
        ("created", f'"response":{BODY % begun}'),
        ("in_progress", f'"response":{BODY % begun}'),
        ("output_item.added", ITEM % (item, "in_progress", "")),
        ("content_part.added", f"{place},{PART % ''}"),
        ("output_text.delta", f'{place},"delta":"a","logprobs":[]'),
        ("output_text.delta", f'{place},"delta":" ü","logprobs":[]'),
        ("output_text.done", f'{place},"text":"a ü","logprobs":[]'),
        ("content_part.done", f"{place},{PART % 'a ü'}"),
        ("output_item.done", ITEM % (item, "completed", whole)),
        ("completed", f'"response":{BODY % over}'),
    ])  # fmt: skip


def test_a_streamed_call_byte_for_byte():
    with serving(null_models(answer=CALL)) as server:
        reply = stream(server.url, tools=[ADD])
    last = events(reply)[-1]["response"]
    tools = '[{"type":"function","name":"add","description":null,"parameters":{"type":"object"},"strict":null}]'
    known = {"id": last["id"], "at": last["created_at"], "tools": tools}
    begun = {**known, "end": "null", "status": "in_progress", "output": "[]", "usage": "null"}
    item, call_id = last["output"][0]["id"], last["output"][0]["call_id"]
    call = f'{{"id":"{item}","type":"function_call","status":"%s","call_id":"{call_id}","name":"add","arguments":"%s"}}'
    place, said = f'"item_id":"{item}","output_index":0', '{\\"a\\": 1}'
    whole, tokens = call % ("completed", said), len(CALL.split())
    usage = USAGE % (tokens, tokens, tokens, 2 * tokens)
    over = {**known, "end": last["completed_at"], "status": "completed", "output": f"[{whole}]", "usage": usage}
    assert reply.body == framed([
        ("created", f'"response":{BODY % begun}'),
        ("in_progress", f'"response":{BODY % begun}'),
        ("output_item.added", f'"output_index":0,"item":{call % ("in_progress", "")}'),
        ("function_call_arguments.delta", f'{place},"delta":"{said}"'),
        ("function_call_arguments.done", f'{place},"name":"add","arguments":"{said}"'),
        ("output_item.done", f'"output_index":0,"item":{whole}'),
        ("completed", f'"response":{BODY % over}'),
    ])  # fmt: skip


# ---- the order ------------------------------------------------------------------------------------------------------


def test_several_calls_are_several_items():
    with serving(null_models(answer=f"[{CALL}, {CALL}]")) as server:
        told = events(stream(server.url, tools=[ADD]))
    assert types(told) == ["created", "in_progress", *CALLED, *CALLED, "completed"]
    assert [event["output_index"] for event in told[2:-1]] == [0] * 4 + [1] * 4
    ids = {event.get("item_id") or event["item"]["id"] for event in told[2:6]}
    assert len(ids) == 1
    assert [item["id"] for item in told[-1]["response"]["output"]] == [*ids, told[6]["item"]["id"]]


def test_a_limit_ends_a_stream_as_incomplete(server):
    told = events(stream(server.url, max_output_tokens=2))
    assert types(told) == [*MESSAGE, *["output_text.delta"] * 2, *MESSAGE_END, "incomplete"]
    assert told[-2]["item"]["status"] == "incomplete"
    response = told[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    # So does a call that was cut: what there is of it is a text.
    with serving(null_models(answer=CALL)) as other:
        told = events(stream(other.url, tools=[ADD], max_output_tokens=2))
    assert types(told) == [*MESSAGE, "output_text.delta", *MESSAGE_END, "incomplete"]
    assert text_of(told) == '{"name": "add",'


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"max_output_tokens": 2}, {"tools": [ADD]}, {"instructions": "x", "metadata": {"a": "b"}},
        {"include": ["message.output_text.logprobs"], "top_logprobs": 1},
        {"include": ["message.output_text.logprobs"], "tools": [ADD]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("said", ["", CALL])
def test_a_stream_adds_up_to_the_whole_answer(fields, said):
    with serving(null_models(answer=said)) as server:
        whole, told = answer(respond(server.url, "a ü c", **fields)), events(stream(server.url, "a ü c", **fields))
    response = told[-1]["response"]
    for body in (whole, response):
        for name in ("id", "created_at", "completed_at"):
            del body[name]
        for item in body["output"]:
            del item["id"]
            item.pop("call_id", None)
    assert response == whole
    parts = [part for item in whole["output"] for part in item.get("content", ())]
    assert text_of(told) == "".join(part["text"] for part in parts)
    scored = [entry for event in told if event["type"].endswith("text.delta") for entry in event["logprobs"]]
    assert scored == [entry for part in parts for entry in part["logprobs"]]
    done = [event["logprobs"] for event in told if event["type"].endswith("text.done")]
    assert done == [part["logprobs"] for part in parts]


# ---- what steps bring together --------------------------------------------------------------------------------------


class Steps:
    """A run of these pieces, one a step."""

    cost_nano = None

    def __init__(self, *pieces: Piece) -> None:
        self.pieces = pieces
        self.end: End | None = None
        self.aborted = False

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        for piece in self.pieces:
            yield [piece]
        self.end = End("x", Usage(3, 0, 0, len(self.pieces)))

    def abort(self) -> None:
        self.aborted = True


class Named:
    name = "eye"


async def streamed(*pieces: Piece, tools: bool = False) -> list[dict]:
    request = ResponsesRequest(tools=[FlatTool(name="add")] if tools else None)
    run = Steps(*pieces)
    found = ResponseStream(Response(request, Named(), run, Tools.flat(request), [], "text.format.schema"))
    told = [read_event(event.removesuffix(b"\n\n")) async for event in found.events()]
    assert run.aborted
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    return told


def piece(text: str, *spelled: bytes, finish: str | None = None) -> Piece:
    return Piece(0, text, list(range(len(spelled))), [Logprob(7, -0.5, 1, each) for each in spelled], finish)


def deltas(told: list[dict]) -> list[tuple[str, list[list[int]]]]:
    found = [event for event in told if event["type"] == "response.output_text.delta"]
    return [(event["delta"], [entry["bytes"] for entry in event["logprobs"]]) for event in found]


async def test_a_character_of_several_tokens_goes_out_whole_with_all_their_scores():
    told = await streamed(piece("n", b"n"), piece("", b"\xc3"), piece("é", b"\xa9"), piece("", b"</s>", finish="stop"))
    assert deltas(told) == [("n", [[110]]), ("é", [[0xC3], [0xA9]])]
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == "né"
    bear = "🐻"
    halves = bear.encode()[:2], bear.encode()[2:]
    told = await streamed(piece("", halves[0]), piece(bear, halves[1], finish="length"))
    assert deltas(told) == [(bear, [list(halves[0]), list(halves[1])])]


async def test_scores_without_a_text_still_go_out():
    told = await streamed(piece("a", b"a"), Piece(0, "", [7], [Logprob(7, -0.5, 1, b" END")], "stop", " END"))
    assert deltas(told) == [("a", [[97]]), ("", [list(b" END")])]


async def test_a_text_that_looked_like_a_call_goes_out_with_its_scores():
    told = await streamed(piece("{", b"{"), piece("no", b"no"), piece("", b"</s>", finish="stop"), tools=True)
    assert types(told) == [*MESSAGE, "output_text.delta", *MESSAGE_END, "completed"]
    assert deltas(told) == [("{no", [[123], [110, 111]])]
    told = await streamed(piece("hi", b"hi"), piece(" {", b" {", finish="stop"), tools=True)
    assert deltas(told) == [("hi", [[104, 105]]), (" {", [[32, 123]])]


async def test_an_answer_without_any_text_is_an_empty_message():
    told = await streamed(piece("", b"</s>", finish="stop"))
    assert types(told) == [*MESSAGE, *MESSAGE_END, "completed"]
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == ""


async def test_scores_of_a_call_are_not_told():
    told = await streamed(piece(CALL, b"x"), piece("", b"</s>", finish="stop"), tools=True)
    assert types(told) == ["created", "in_progress", *CALLED, "completed"]


# ---- streams that do not come to their end --------------------------------------------------------------------------


def test_a_replica_that_is_killed_in_the_middle():
    with serving(null_models(delay=0.02)) as server:
        body = {"model": "eye", "input": "word " * 500, "stream": True}
        with sent(server.url, "POST", PATH, body) as connection:
            reply = connection.getresponse()
            assert reply.readline() == b"event: response.created\n"
            os.kill(server.router.find("eye").pid, signal.SIGKILL)
            *told, last, rest = reply.read().split(b"\n\n")
        assert rest == b""
        error = read_event(last)
        assert error == {
            "type": "error", "sequence_number": len(told), "code": "model_loading",
            "message": "The model eye died while it was answering.", "param": None,
            "error": {
                "message": "The model eye died while it was answering.", "type": "server_error", "param": None,
                "code": "model_loading",
            },
        }  # fmt: skip
        assert last.startswith(b"event: error\ndata: ")
        assert text_of(events(stream(server.url))) == "a b c"


def test_an_error_before_the_first_event_is_a_plain_answer():
    with serving(null_models(die_after=0)) as server:
        reply = stream(server.url)
        assert (reply.status, reply.error["code"]) == (503, "model_loading")


def test_a_failure_that_the_client_asked_for_names_its_place():
    params = ["input[0].content[1].image_url"]
    found = ResponseStream(Response(ResponsesRequest(), Named(), Steps(), Tools(), params, "text.format.schema"))
    told = read_event(found.failed(ImageError("images[0]: the image is truncated")).removesuffix(b"\n\n"))
    assert (told["sequence_number"], told["param"], told["code"]) == (0, params[0], "image_parse_error")
    told = read_event(found.failed(KeyError("secret")).removesuffix(b"\n\n"))
    assert (told["sequence_number"], told["code"]) == (1, "internal_error")
    assert "secret" not in json.dumps(told)


def unfinished(server: Running) -> int:
    model = server.router.find("eye")

    async def look() -> int:
        client = await model.client()
        return (await client.report(5)).unfinished

    return server.do(look)


@pytest.mark.parametrize("streams", [False, True])
def test_a_client_that_goes_away_frees_its_request(streams):
    with serving(null_models(delay=0.1)) as server:
        body = {"model": "eye", "input": "word " * 500, "stream": streams}
        with sent(server.url, "POST", PATH, body) as connection:
            if streams:
                assert connection.getresponse().readline().startswith(b"event: ")
            wait_for(lambda: unfinished(server) == 1)
        wait_for(lambda: unfinished(server) == 0)  # the whole answer would take 50 s


def wait_for(true) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
