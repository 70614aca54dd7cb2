"""Completions over HTTP, before a replica that repeats what it is told."""

import json
import re

import pytest
from http_calls import Reply, call
from servers import Running, null_models, serving

from triptych.server.dialects.openai.wire import CompletionRequest

PATH = "/v1/completions"


def ask(server: Running, prompt: object = "a b c", **fields) -> Reply:
    return call(server.url, "POST", PATH, {"model": "eye", "prompt": prompt, **fields})


def texts(reply: Reply) -> list[str]:
    assert reply.status == 200, reply.body
    return [choice["text"] for choice in reply.json["choices"]]


# ---- whole ----------------------------------------------------------------------------------------------------------


def test_every_key_of_an_answer(server):
    reply = ask(server)
    assert reply.headers["openai-version"] == "2020-10-01"
    answer = reply.json
    assert re.fullmatch(r"cmpl-[0-9a-f]{24}", answer.pop("id"))
    assert isinstance(answer.pop("created"), int)
    usage = answer.pop("usage")
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 3, 6)
    assert answer == {
        "object": "text_completion",
        "model": "eye",
        "choices": [
            {"index": 0, "text": "a b c", "logprobs": None, "finish_reason": "stop", "stop_reason": None}
        ],
        "system_fingerprint": "fp_null",
    }


def test_null_for_every_optional_field_and_unknown_ones(server):
    nulls = {field: None for field in CompletionRequest.__struct_fields__ if field not in ("prompt", "model")}
    assert texts(ask(server, **nulls)) == ["a b c"]
    assert texts(ask(server, user="u", whatever=[1], do_sample=True)) == ["a b c"]


def test_sixteen_tokens_unless_told_otherwise(server):
    assert texts(ask(server, "w " * 20)) == [" ".join("w" * 16)]
    assert texts(ask(server, "w " * 20, max_tokens=None)) == [" ".join("w" * 16)]
    assert texts(ask(server, "w " * 20, max_tokens=18)) == [" ".join("w" * 18)]


def test_prompts_in_all_forms(server):
    assert texts(ask(server, [5, 6])) == ["5 6"]
    assert texts(ask(server, [[5, 6], [7]])) == ["5 6", "7"]
    assert texts(ask(server, ["a b", "c"])) == ["a b", "c"]


def test_choices_by_prompt_and_usage_over_all(server):
    answer = ask(server, ["a b", "c"], n=2).json
    assert [(choice["index"], choice["text"]) for choice in answer["choices"]] == [
        (0, "a b"), (1, "a b"), (2, "c"), (3, "c"),
    ]  # fmt: skip
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["completion_tokens"] == 6


def test_no_tokens_at_all(server):
    answer = ask(server, max_tokens=0).json
    assert (answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]) == ("", "length")
    assert answer["usage"]["completion_tokens"] == 0
    assert texts(ask(server, max_tokens=0, echo=True)) == ["a b c"]
    [chunk] = [chunk["choices"][0] for chunk in ask(server, "a", max_tokens=0, stream=True).chunks]
    assert (chunk["text"], chunk["finish_reason"]) == ("", "length")


def test_an_echo(server):
    assert texts(ask(server, echo=True)) == ["a b ca b c"]
    assert texts(ask(server, ["a b", "c"], echo=True, n=2)) == ["a ba b", "a ba b", "cc", "cc"]


def test_images_go_with_a_single_prompt(server):
    answer = ask(server, "a <image>", images=["x"]).json
    assert answer["usage"]["prompt_tokens_details"]["image_tokens"] == 10
    assert ask(server, ["a", "b"], images=["x"]).error["param"] == "images"
    reply = ask(server, "broken <image>", images=["x"])
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "images[0]", "image_parse_error")


def test_token_ids(server):
    choice = ask(server, "a b", return_token_ids=True).json["choices"][0]
    assert (choice["prompt_token_ids"], choice["token_ids"]) == ([0, 1], [0, 1])
    first, second = [chunk["choices"][0] for chunk in ask(server, "a b", return_token_ids=True, stream=True).chunks]
    assert (first["prompt_token_ids"], first["token_ids"]) == ([0, 1], [0])
    assert "prompt_token_ids" not in second


# ---- streams --------------------------------------------------------------------------------------------------------


def test_a_stream_byte_for_byte(server):
    reply = ask(server, "a ü", stream=True, stream_options={"include_usage": True})
    first = json.loads(reply.events[0].removeprefix(b"data: "))
    head = f'data: {{"id":"{first["id"]}","object":"text_completion","created":{first["created"]},'
    head += '"model":"eye","system_fingerprint":"fp_null","choices":['
    usage = json.loads(reply.events[2].removeprefix(b"data: "))["usage"]
    assert usage["total_tokens"] == 4
    assert reply.body.decode() == (
        head + '{"index":0,"text":"a","logprobs":null,"finish_reason":null}],"usage":null}\n\n'
        + head + '{"index":0,"text":" ü","logprobs":null,"finish_reason":"stop"}],"usage":null}\n\n'
        + head + '],"usage":' + json.dumps(usage, separators=(",", ":")) + "}\n\n"
        + "data: [DONE]\n\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields", [{}, {"n": 3}, {"echo": True}, {"max_tokens": 1}, {"logprobs": 1}, {"logprobs": 0, "n": 2}]
)
def test_a_stream_adds_up_to_the_whole_answer(server, fields):
    prompt = ["a b", "c d e"]
    whole = ask(server, prompt, **fields).json
    chunks = ask(server, prompt, stream=True, stream_options={"include_usage": True}, **fields).chunks
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], whole["usage"])
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    for choice in whole["choices"]:
        mine = [each for chunk in chunks for each in chunk["choices"] if each["index"] == choice["index"]]
        assert "".join(each["text"] for each in mine) == choice["text"]
        assert [each["finish_reason"] for each in mine if each["finish_reason"]] == [choice["finish_reason"]]
        for name in choice["logprobs"] or ():
            assert [value for each in mine for value in each["logprobs"][name]] == choice["logprobs"][name]


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": []}, "prompt", "missing_required_parameter"),
        ({"prompt": ["a", 5]}, "prompt", None),
        ({"prompt": [5, "a"]}, "prompt", None),
        ({"prompt": [[1], "a"]}, "prompt", None),
        ({"prompt": [1 << 64]}, "prompt[0]", None),
        ({"prompt": ["a"] * 1025}, "prompt", None),
        ({"max_tokens": -1}, "max_tokens", None),
        ({"logprobs": 21}, "logprobs", None),
        ({"logprobs": True}, "logprobs", None),
        ({"suffix": "x"}, "suffix", "unsupported_parameter"),
        ({"best_of": 2}, "best_of", "unsupported_parameter"),
        ({"echo": True, "logprobs": 1, "stream": True}, "logprobs", "unsupported_parameter"),
        ({"temperature": -1}, "temperature", None),
    ],
)
def test_wrong_fields(server, fields, param, code):
    reply = ask(server, **fields)
    assert (reply.status, reply.error["param"], reply.error["code"]) == (400, param, code)


def test_a_prompt_that_does_not_fit_ends_all_others():
    with serving(null_models(max_context=5)) as server:
        reply = ask(server, ["a", "a b c d e f"])
        assert (reply.status, reply.error["param"], reply.error["code"]) == (400, "prompt", "context_length_exceeded")


def test_a_replica_that_dies_in_the_middle():
    with serving(null_models(die_after=2)) as server:
        *_, error, done = ask(server, stream=True).events
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "model_loading"
        assert done == b"data: [DONE]"
