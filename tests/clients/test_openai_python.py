"""OpenAI's own Python client, as it is, against the server with the packaged models."""

import base64
import enum
import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from replicas import start_here
from servers import serving

from triptych import LLM
from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.names import ALIASES
from triptych.server.served import ModelSpec, ServedModel

OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20}
LLAVA, MIXTRAL = "triptych/tiny-llava-1.6", "triptych/tiny-mixtral"
PICTURE = Path(__file__).parents[2] / "examples" / "two-shapes.png"
SUM = [{"role": "user", "content": "What is 17 + 25?"}]
GREEDY = {"model": MIXTRAL, "temperature": 0, "max_tokens": 40}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    specs = [ModelSpec(name, name, ALIASES[name], OPTIONS) for name in (LLAVA, MIXTRAL)]
    fetcher = ImageFetcher(Guard.allowing([]))
    with serving([ServedModel(spec, start_here) for spec in specs], fetcher.read, on_stop=fetcher.close) as server:
        yield f"{server.url}/v1"


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key="any") as client:
        yield client


# ---- models ---------------------------------------------------------------------------------------------------------


def test_models(client):
    assert [model.id for model in client.models.list()] == [LLAVA, MIXTRAL]
    for name in (MIXTRAL, "mixtral-8x7b", "mistralai/Mixtral-8x7B-Instruct-v0.1"):
        model = client.models.retrieve(name)
        assert (model.id, model.object, model.owned_by) == (MIXTRAL, "model", "triptych")
        assert model.created > 0


# ---- chats ----------------------------------------------------------------------------------------------------------


def test_a_sum_is_right(client):
    answer = client.chat.completions.create(messages=SUM, **GREEDY)
    assert answer.choices[0].message.content == "42"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model == MIXTRAL
    assert answer._request_id.startswith("req_")


def test_a_streamed_sum_with_usage(client):
    whole = client.chat.completions.create(messages=SUM, **GREEDY)
    with client.chat.completions.create(
        messages=SUM, stream=True, stream_options={"include_usage": True}, **GREEDY
    ) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "42"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_the_streaming_helper(client):
    with client.chat.completions.stream(messages=SUM, **GREEDY) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == "42"


async def test_the_async_client(url):
    async with AsyncOpenAI(base_url=url, api_key="any") as client:
        stream = await client.chat.completions.create(messages=SUM, stream=True, **GREEDY)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "42"


def test_none_for_everything_optional(client):
    answer = client.chat.completions.create(
        messages=SUM, **GREEDY, top_p=None, n=None, stop=None, seed=None, logprobs=None, top_logprobs=None,
        logit_bias=None, presence_penalty=None, frequency_penalty=None, max_completion_tokens=None, stream=None,
        stream_options=None, metadata=None, store=None,
    )  # fmt: skip
    assert answer.choices[0].message.content == "42"


@pytest.mark.parametrize("constrained", [False, True])
def test_logprobs_are_those_of_the_text(client, constrained):
    form = {"guided_choice": ["42", "43"]} if constrained else None
    answer = client.chat.completions.create(messages=SUM, logprobs=True, top_logprobs=3, extra_body=form, **GREEDY)
    content = answer.choices[0].logprobs.content
    assert bytes(byte for entry in content for byte in entry.bytes).decode().strip() == "42"
    for entry in content:
        best = [shown.logprob for shown in entry.top_logprobs]
        assert len(best) == 3
        assert best == sorted(best, reverse=True)
    assert content[0].top_logprobs[0].logprob >= content[0].logprob
    chunks = client.chat.completions.create(
        messages=SUM, logprobs=True, top_logprobs=3, extra_body=form, stream=True, **GREEDY
    )
    shown = [choice.logprobs for chunk in chunks for choice in chunk.choices]
    assert [entry for logprobs in shown if logprobs for entry in logprobs.content] == content


def test_several_choices_are_reproducible(client):
    wanted = {**GREEDY, "messages": SUM, "n": 4, "temperature": 1.5, "seed": 7, "max_tokens": 4}
    first, second = (client.chat.completions.create(**wanted) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in second.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2, 3]
    assert first.system_fingerprint == second.system_fingerprint


def test_a_stop_string_and_a_limit(client):
    answer = client.chat.completions.create(messages=SUM, stop="2", **GREEDY).choices[0]
    assert (answer.message.content, answer.finish_reason, answer.stop_reason) == ("4", "stop", "2")
    answer = client.chat.completions.create(messages=SUM, **{**GREEDY, "max_tokens": 1}).choices[0]
    assert answer.finish_reason == "length"
    # A limit beyond the context is cut to what fits.
    assert client.chat.completions.create(messages=SUM, **{**GREEDY, "max_tokens": 10**6}).choices[0].message.content


# ---- images ---------------------------------------------------------------------------------------------------------


def test_an_image_by_data_uri_says_what_the_library_says(client):
    question = "What color is the circle?"
    with LLM(LLAVA, precision="fp32", device="cpu", threads=1, kv_memory=64 << 20) as llm:
        wanted = llm.chat(question, [PICTURE], max_tokens=20)
    data = base64.b64encode(PICTURE.read_bytes()).decode()
    shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", "detail": "auto"}}
    for parts in ([{"type": "text", "text": question}, shown], [shown, {"type": "text", "text": question}]):
        answer = client.chat.completions.create(
            model="llava-hf/llava-v1.6-mistral-7b-hf", messages=[{"role": "user", "content": parts}], temperature=0,
            max_tokens=20,
        )  # fmt: skip
        assert answer.choices[0].message.content == wanted.text
        assert answer.model == LLAVA
        assert answer.usage.prompt_tokens == wanted.usage.prompt_tokens
        assert answer.usage.prompt_tokens_details.image_tokens == wanted.usage.image_tokens > 0


def test_an_image_that_cannot_be_had(client):
    for url, code in (
        ("data:image/png;base64,????", "invalid_base64_image"),
        ("data:image/png;base64,aGVsbG8gdGhlcmU=", "invalid_image_format"),
        ("http://127.0.0.1:9/x.png", "invalid_image_url"),
    ):
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
        with pytest.raises(openai.BadRequestError) as error:
            client.chat.completions.create(model=LLAVA, messages=[{"role": "user", "content": parts}])
        assert (error.value.code, error.value.param) == (code, "messages[0].content[0].image_url.url")


# ---- forms ----------------------------------------------------------------------------------------------------------


class Word(enum.StrEnum):
    YES = "yes"
    NO = "no"


class Inner(BaseModel):
    word: Word


class Judgement(BaseModel):
    inner: Inner
    right: bool


def test_a_parsed_answer(client):
    answer = client.chat.completions.parse(messages=SUM, response_format=Judgement, **GREEDY)
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Judgement)
    assert parsed.inner.word in Word


@pytest.mark.parametrize(("several", "parallel"), [(False, False), (True, False), (True, True)])
def test_a_forced_tool_with_nested_types(client, several, parallel):
    tools = [openai.pydantic_function_tool(Judgement, name="judge", description="Judges a sum.")]
    if several:
        tools.append(openai.pydantic_function_tool(Inner, name="say"))
    wanted = {
        "messages": SUM, "tools": tools, "tool_choice": "required", "parallel_tool_calls": parallel,
        **GREEDY, "max_tokens": 2000,
    }  # fmt: skip
    choice = client.chat.completions.create(**wanted).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    kinds = {"judge": Judgement, "say": Inner}
    for call in choice.message.tool_calls:
        kinds[call.function.name].model_validate_json(call.function.arguments)
    with client.chat.completions.stream(**wanted) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    assert [call.function.arguments for call in streamed.message.tool_calls] == [
        call.function.arguments for call in choice.message.tool_calls
    ]


def test_a_named_tool(client):
    tools = [openai.pydantic_function_tool(Judgement, name="judge"), openai.pydantic_function_tool(Inner, name="say")]
    choice = client.chat.completions.create(
        messages=SUM, tools=tools, tool_choice={"type": "function", "function": {"name": "say"}},
        **{**GREEDY, "max_tokens": 200},
    ).choices[0]
    [call] = choice.message.tool_calls
    assert call.function.name == "say"
    assert json.loads(call.function.arguments)["word"] in ("yes", "no")


# ---- completions ----------------------------------------------------------------------------------------------------


def test_a_completion_with_everything_scored(client):
    answer = client.completions.create(
        model=MIXTRAL, prompt="What is 1 + 1?", echo=True, logprobs=2, max_tokens=2, temperature=0
    )
    choice, scores = answer.choices[0], answer.choices[0].logprobs
    assert choice.text.startswith("What is 1 + 1?")
    counted = answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert {len(each) for each in (scores.tokens, scores.token_logprobs, scores.top_logprobs, scores.text_offset)} == {
        counted
    }
    assert scores.token_logprobs[0] is None
    assert all(score is not None for score in scores.token_logprobs[1:])
    special, *tokens = scores.tokens
    assert special == "<s>"
    assert "".join(tokens).removesuffix("</s>") == choice.text
    for token, offset in zip(tokens, scores.text_offset[1:], strict=True):
        assert token == "</s>" or choice.text[offset:].startswith(token)
    # What lm-eval relies on: the best alternative and the token itself have the same number where they are the same.
    for token, score, top in zip(tokens, scores.token_logprobs[1:], scores.top_logprobs[1:], strict=True):
        assert top[token] >= score
        assert 2 <= len(top) <= 3


def test_a_completion_of_token_ids_gets_nothing_added(client):
    ids = client.post("/tokenize", body={"model": MIXTRAL, "prompt": "What is 1 + 1?"}, cast_to=object)["tokens"]
    by_text, by_ids = (
        client.completions.create(
            model=MIXTRAL, prompt=prompt, echo=True, logprobs=1, max_tokens=1, temperature=0, seed=1234
        )
        for prompt in ("What is 1 + 1?", [ids])
    )
    assert by_ids.usage.prompt_tokens == by_text.usage.prompt_tokens == len(ids)
    assert by_ids.choices[0].logprobs.token_logprobs[1:] == by_text.choices[0].logprobs.token_logprobs[1:]
    assert "".join(by_ids.choices[0].logprobs.tokens).removesuffix("</s>") == by_ids.choices[0].text


def test_a_prompt_is_scored_without_an_answer(client):
    answer = client.completions.create(model=MIXTRAL, prompt="1 + 1", echo=True, logprobs=0, max_tokens=0)
    choice = answer.choices[0]
    assert (choice.text, choice.finish_reason, answer.usage.completion_tokens) == ("1 + 1", "length", 0)
    assert len(choice.logprobs.tokens) == answer.usage.prompt_tokens


def test_prompt_logprobs_of_a_chat(client):
    answer = client.chat.completions.create(messages=SUM, extra_body={"prompt_logprobs": 2}, **GREEDY)
    first, *others = answer.prompt_logprobs
    assert first is None
    assert len(others) == answer.usage.prompt_tokens - 1
    assert all(2 <= len(alternatives) <= 3 for alternatives in others)


def test_a_streamed_completion_is_scored_like_a_whole_one(client):
    wanted = {"model": MIXTRAL, "prompt": "What is 1 + 1?", "logprobs": 1, "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**wanted).choices[0]
    chunks = [chunk.choices[0] for chunk in client.completions.create(stream=True, **wanted)]
    assert "".join(chunk.text for chunk in chunks) == whole.text
    for name in ("tokens", "token_logprobs", "text_offset"):
        assert [one for chunk in chunks for one in getattr(chunk.logprobs, name)] == getattr(whole.logprobs, name)


# ---- errors ---------------------------------------------------------------------------------------------------------


def failure(kind: type[openai.APIStatusError], call) -> openai.APIStatusError:
    with pytest.raises(kind) as error:
        call()
    assert error.value.response.request.headers["x-stainless-retry-count"] == "0"
    assert error.value.request_id.startswith("req_")
    assert error.value.type == "invalid_request_error"
    return error.value


def test_errors_are_the_clients_own_and_not_tried_again(client):
    create = client.chat.completions.create
    error = failure(openai.BadRequestError, lambda: create(model=MIXTRAL, messages=SUM, temperature=3))
    assert error.param == "temperature"
    error = failure(openai.NotFoundError, lambda: create(model="gpt-x", messages=SUM))
    assert (error.param, error.code) == ("model", "model_not_found")
    failure(openai.NotFoundError, lambda: client.models.retrieve("gpt-x"))
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    error = failure(openai.BadRequestError, lambda: create(messages=SUM, response_format=form, **GREEDY))
    assert error.code == "invalid_json_schema"
    assert "Invalid schema for response_format" in error.message
    long = [{"role": "user", "content": "1 + 1 " * 5000}]
    error = failure(openai.BadRequestError, lambda: create(messages=long, **GREEDY))
    assert error.code == "context_length_exceeded"
    assert "maximum context length is" in error.message
    error = failure(openai.BadRequestError, lambda: create(messages=SUM, logit_bias={"1000000": 1}, **GREEDY))
    assert error.param == "logit_bias"
    shown = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]
    error = failure(openai.BadRequestError, lambda: create(messages=[{"role": "user", "content": shown}], **GREEDY))
    assert error.code == "unsupported_content"
    assert LLAVA in error.message


def test_detokenize_is_the_way_back(client):
    ids = client.post("/tokenize", body={"model": MIXTRAL, "prompt": "</s>", "add_special_tokens": False},
                      cast_to=object)["tokens"]  # fmt: skip
    assert len(ids) == 1
    assert client.post("/detokenize", body={"model": MIXTRAL, "tokens": ids}, cast_to=object) == {"prompt": "</s>"}
