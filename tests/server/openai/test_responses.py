"""Whole responses over HTTP, before a replica that repeats what it is told."""

import re
import time

from http_calls import call, sent
from response_calls import PATH, answer, respond
from servers import null_models, serving

from triptych.server.app import Options
from triptych.server.dialects.openai.wire import ResponsesRequest

ADD = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
SUB = {"type": "function", "name": "sub", "description": "Subtracts.", "strict": True, "parameters": None}
CALL = '{"name": "add", "arguments": {"a": 1}}'


def user(*parts: object) -> list[dict]:
    return [{"role": "user", "content": list(parts)}]


def text(said: str) -> dict:
    return {"type": "input_text", "text": said}


def image(url: str = "a picture") -> dict:
    return {"type": "input_image", "image_url": url, "detail": "auto"}


# ---- what comes back ------------------------------------------------------------------------------------------------


def test_every_key_of_an_answer(server):
    before = int(time.time())
    reply = respond(server.url, user(text("a b"), image()), "llava", instructions="be brief", metadata={"k": "v"})
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["openai-version"] == "2020-10-01"
    body = answer(reply)
    assert re.fullmatch("resp_[0-9a-f]{48}", body.pop("id"))
    assert re.fullmatch("msg_[0-9a-f]{48}", body["output"][0].pop("id"))
    assert before <= body.pop("created_at") <= body.pop("completed_at") <= time.time()
    assert body == {
        "object": "response", "status": "completed", "background": False, "error": None, "incomplete_details": None,
        "instructions": "be brief", "max_output_tokens": None, "metadata": {"k": "v"}, "model": "eye",
        "output": [{
            "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "a b", "annotations": [], "logprobs": []}],
        }],
        "parallel_tool_calls": True, "previous_response_id": None, "reasoning": None, "service_tier": None,
        "store": False, "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
        "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": None,
        "usage": {
            "input_tokens": 12,
            "input_tokens_details": {
                "cached_tokens": 0, "cache_write_tokens": 0, "image_tokens": 10, "text_tokens": 2,
            },
            "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 14,
        },
    }  # fmt: skip


def test_null_for_every_optional_field_and_unknown_ones(server):
    nulls = {field: None for field in ResponsesRequest.__struct_fields__ if field not in ("input", "model")}
    unknown = {
        "store": True, "reasoning": {"effort": "low"}, "service_tier": "auto", "prompt_cache_key": "k",
        "safety_identifier": "s", "stream_options": {"include_obfuscation": False}, "text": {"verbosity": "low"},
        "include": ["reasoning.encrypted_content"], "max_tool_calls": 3, "whatever": [1, {"a": None}], "user": "u",
        "truncation": "disabled", "tools": [], "metadata": {}, "stop": [], "logit_bias": {}, "n": 1, "functions": [],
    }  # fmt: skip
    for fields in (nulls, unknown):
        body = answer(respond(server.url, **fields))
        assert body["output"][0]["content"][0]["text"] == "a b c"
        assert body["store"] is False
        assert body["user"] == fields["user"]


def test_what_was_asked_for_is_repeated(server):
    schema = {"type": "object", "properties": {}}
    asked = {
        "temperature": 0.5, "top_p": 0.9, "max_output_tokens": 50, "tools": [ADD, SUB], "parallel_tool_calls": False,
        "top_logprobs": 2,
    }  # fmt: skip
    form = {"type": "json_schema", "name": "x", "schema": schema, "strict": True}
    body = answer(respond(server.url, text={"format": form}, **asked))
    tools = [{"description": None, "strict": None, **ADD}, SUB]
    assert {name: body[name] for name in asked} == {**asked, "tools": tools}
    assert body["text"]["format"] == {**form, "description": None}
    body = answer(respond(server.url, text={"format": {"type": "json_schema"}}))
    assert (body["text"]["format"]["name"], body["text"]["format"]["schema"]) == ("response", {})
    assert answer(respond(server.url, text={"format": {"type": "json_object"}}))["text"]["format"] == {
        "type": "json_object"
    }


def test_a_choice_of_tools_is_repeated_in_this_apis_spelling(server):
    named = {"type": "function", "name": "add"}
    for given, repeated in (
        ("none", "none"), ("required", "required"), (named, named),
        ({"type": "function", "function": {"name": "add"}}, named),
        ({"type": "allowed_tools", "mode": "required", "tools": [named]},
         {"type": "allowed_tools", "mode": "required", "tools": [named]}),
        ({"type": "allowed_tools", "allowed_tools": {"tools": [named]}},
         {"type": "allowed_tools", "mode": "auto", "tools": [named]}),
    ):  # fmt: skip
        assert answer(respond(server.url, tools=[ADD, SUB], tool_choice=given))["tool_choice"] == repeated


def test_a_limit_leaves_an_answer_incomplete(server):
    body = answer(respond(server.url, max_output_tokens=2))
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (body["completed_at"], body["error"]) == (None, None)
    [message] = body["output"]
    assert (message["status"], message["content"][0]["text"]) == ("incomplete", "a b")
    assert body["usage"]["output_tokens"] == 2


def test_logprobs_if_they_are_included(server):
    included = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
    [part] = answer(respond(server.url, "a ü", **included))["output"][0]["content"]
    assert part["logprobs"] == [
        {"token": said, "logprob": -0.5, "bytes": list(said.encode()),
         "top_logprobs": [{"token": said, "logprob": -0.5, "bytes": list(said.encode())}]}
        for said in ("a", " ü")
    ]  # fmt: skip
    [part] = answer(respond(server.url, "a ü", top_logprobs=1))["output"][0]["content"]
    assert part["logprobs"] == []


def test_a_call_is_an_item_of_its_own():
    with serving(null_models(answer=f"[{CALL}, {CALL}]")) as server:
        body = answer(respond(server.url, tools=[ADD]))
        first, second = body["output"]
        assert first["call_id"] != second["call_id"]
        assert re.fullmatch("fc_[0-9a-f]{48}", first.pop("id"))
        assert first.pop("call_id").startswith("call_")
        assert first == {"type": "function_call", "status": "completed", "name": "add", "arguments": '{"a": 1}'}
        assert body["status"] == "completed"
        # Without tools, or cut short, it is a text.
        for fields, status in (({}, "completed"), ({"tools": [ADD], "max_output_tokens": 2}, "incomplete")):
            body = answer(respond(server.url, **fields))
            assert (body["status"], body["output"][0]["type"]) == (status, "message")


def test_what_the_replica_is_told():
    """The request as it reaches the engine: a forced call, a form, and the sampling of other servers' clients."""
    with serving(null_models()) as server:
        model = server.router.find("eye")
        told = []
        begin = model.begin
        model.begin = lambda generation: told.append(generation) or begin(generation)
        answer(respond(server.url, tools=[ADD], tool_choice="required", top_k=3, seed=7, stop="x", priority=2))
        form = {"type": "json_schema", "schema": {"type": "string"}}
        answer(respond(server.url, text={"format": form}, max_output_tokens=9, temperature=0))
        forced, formed = told
        assert forced.prompt.messages[0]["content"].startswith("You can call these functions:\n- add: Arguments: ")
        assert forced.params.constraint.value["items"]["properties"]["name"] == {"const": "add"}
        assert (forced.params.top_k, forced.params.seed, forced.params.stop, forced.priority) == (3, 7, ("x",), 2)
        assert (forced.params.temperature, forced.params.max_tokens, forced.params.logprobs) == (1.0, None, None)
        assert formed.params.constraint.value == {"type": "string"}
        assert (formed.params.temperature, formed.params.max_tokens, formed.dialect) == (0.0, 9, "openai")


# ---- the routes beside it -------------------------------------------------------------------------------------------


def test_nothing_is_kept(server):
    id = answer(respond(server.url, store=True))["id"]
    for method, path in (
        ("GET", f"/{id}"), ("DELETE", f"/{id}"), ("POST", f"/{id}/cancel"), ("GET", f"/{id}/input_items"),
        ("GET", "/" + "x" * 5000),
    ):  # fmt: skip
        reply = call(server.url, method, PATH + path)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "not_found", "response_id")
        assert "keeps none" in reply.error["message"]
        assert len(reply.error["message"]) < 300
    assert call(server.url, "GET", PATH).status == 405


def test_input_tokens_are_those_that_an_answer_counts(server):
    given = {"input": [*user(text("a b c"))], "instructions": "be brief", "tools": [ADD]}
    counted = call(server.url, "POST", PATH + "/input_tokens", {"model": "eye", **given})
    assert counted.json == {"object": "response.input_tokens", "input_tokens": 3}
    assert answer(respond(server.url, **given))["usage"]["input_tokens"] == 3
    for fields, param in (({"input": None}, "input"), ({"background": True}, "background"), ({"model": "x"}, "model")):
        assert respond(server.url, path=PATH + "/input_tokens", **fields).error["param"] == param


def test_every_prefix_and_a_key():
    with serving(null_models(), options=Options(drain=5, keys=("one",))) as server:
        body = {"model": "eye", "input": "hi"}
        for prefix in ("/v1", "", "/openai/v1"):
            for method, path in (
                ("POST", "/responses"), ("POST", "/responses/input_tokens"), ("GET", "/responses/x"),
                ("DELETE", "/responses/x"), ("POST", "/responses/x/cancel"), ("GET", "/responses/x/input_items"),
            ):  # fmt: skip
                reply = call(server.url, method, prefix + path, body)
                assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
            reply = call(server.url, "POST", f"{prefix}/responses", body, {"authorization": "Bearer one"})
            assert reply.json["output"][0]["content"][0]["text"] == "hi"


def test_a_replica_that_dies_and_a_queue_that_is_full():
    with serving(null_models(die_after=2)) as server:
        reply = respond(server.url)
        assert (reply.status, reply.error["code"]) == (503, "model_loading")
        assert int(reply.headers["retry-after"]) >= 1
    with serving(null_models(delay=0.2), most_waiting=1) as server:
        body = {"model": "eye", "input": "word " * 100, "stream": True}
        with sent(server.url, "POST", PATH, body) as connection:
            assert connection.getresponse().readline() == b"event: response.created\n"
            reply = respond(server.url)
            assert (reply.status, reply.error["code"]) == (429, "overloaded")
