"""OpenAI's own Python client, as it is, against the Responses API before the packaged models."""

import base64
import enum
import io
from collections.abc import Callable, Iterable, Iterator

import numpy
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from PIL import Image
from pydantic import BaseModel
from response_calls import answer, checked, events, respond, text_of

from triptych.embedded.world import Scene, Thing, caption, draw, sample_style

LLAVA, MIXTRAL = "triptych/tiny-llava-1.6", "triptych/tiny-mixtral"
SUM = "What is 17 + 25?"
GREEDY = {"model": MIXTRAL, "temperature": 0, "max_output_tokens": 40}
SCENE = Scene(336, 336, (
    Thing("circle", "red", "large", 100, 120, 100, 0), Thing("star", "blue", "small", 250, 230, 58, 5),
))  # fmt: skip


@pytest.fixture(scope="module")
def client(served: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{served}/v1", api_key="any") as client:
        yield client


@pytest.fixture(scope="module")
def picture() -> str:
    """A drawn scene as a data URI."""
    return data_uri(draw(SCENE, sample_style(numpy.random.default_rng(3))))


def data_uri(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def shown(question: str, picture: str) -> list[dict]:
    image = {"type": "input_image", "image_url": picture, "detail": "auto"}
    return [{"role": "user", "content": [{"type": "input_text", "text": question}, image]}]


# ---- texts ----------------------------------------------------------------------------------------------------------


def test_a_sum_is_right(client):
    response = client.responses.create(input=SUM, **GREEDY)
    assert (response.output_text, response.status, response.model) == ("42", "completed", MIXTRAL)
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response._request_id.startswith("req_")
    counted = client.responses.input_tokens.count(model=MIXTRAL, input=SUM)
    assert counted.input_tokens == response.usage.input_tokens


def test_a_streamed_sum(client):
    with client.responses.create(input=SUM, stream=True, **GREEDY) as stream:
        told = list(stream)
    assert "".join(event.delta for event in told if event.type == "response.output_text.delta") == "42"
    assert told[-1].type == "response.completed"
    assert told[-1].response.output_text == "42"


def test_the_streaming_helper(client):
    with client.responses.stream(input=SUM, **GREEDY) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        assert snapshots[-1] == "42"
        assert stream.get_final_response().output_text == "42"


async def test_the_async_client(served):
    async with (
        AsyncOpenAI(base_url=f"{served}/v1", api_key="any") as client,
        client.responses.stream(input=SUM, **GREEDY) as stream,
    ):
        assert (await stream.get_final_response()).output_text == "42"


def test_an_answer_goes_back_as_it_came(client):
    """The way to hold a conversation with a server that keeps none: what came out goes in again."""
    first = client.responses.create(input=SUM, **GREEDY)
    again = client.responses.create(
        input=[{"role": "user", "content": SUM}, *first.output, {"role": "user", "content": "What is 3 + 4?"}], **GREEDY
    )
    whole = client.chat.completions.create(model=MIXTRAL, temperature=0, max_tokens=40, messages=[
        {"role": "user", "content": SUM}, {"role": "assistant", "content": "42"},
        {"role": "user", "content": "What is 3 + 4?"},
    ])  # fmt: skip
    assert again.output_text == whole.choices[0].message.content
    assert again.usage.input_tokens == whole.usage.prompt_tokens


def test_a_limit_and_logprobs(client):
    response = client.responses.create(input=SUM, **{**GREEDY, "max_output_tokens": 1})
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    response = client.responses.create(
        input=SUM, include=["message.output_text.logprobs"], top_logprobs=3, **GREEDY
    )
    scored = response.output[0].content[0].logprobs
    assert bytes(byte for entry in scored for byte in entry.bytes).decode().strip() == "42"
    assert {len(entry.top_logprobs) for entry in scored} == {3}


def test_what_is_too_long_loses_its_oldest_turns_if_that_is_asked_for(client):
    long = [
        {"role": "user", "content": "1 + 1 " * 5000}, {"role": "assistant", "content": "2"},
        {"role": "user", "content": SUM},
    ]  # fmt: skip
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(input=long, **GREEDY)
    assert (error.value.code, error.value.param) == ("context_length_exceeded", "input")
    response = client.responses.create(input=long, truncation="auto", **GREEDY)
    assert (response.output_text, response.truncation) == ("42", "auto")
    assert response.usage.input_tokens == client.responses.create(input=SUM, **GREEDY).usage.input_tokens
    # What nothing can be left out of is refused all the same.
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(input="1 + 1 " * 5000, truncation="auto", **GREEDY)
    assert error.value.code == "context_length_exceeded"


# ---- images ---------------------------------------------------------------------------------------------------------


def test_a_picture_is_described_as_it_is(client, picture):
    for question, truth in (
        ("Describe the picture.", caption(SCENE)), ("What color is the circle?", "red"),
        ("How many objects are there?", "2"), ("Is there a green square?", "no"),
    ):  # fmt: skip
        response = client.responses.create(model=LLAVA, input=shown(question, picture), temperature=0)
        assert response.output_text == truth
        assert response.usage.input_tokens_details.image_tokens > 0
        with client.responses.stream(model=LLAVA, input=shown(question, picture), temperature=0) as stream:
            assert stream.get_final_response().output_text == truth


def test_an_image_that_cannot_be_had(client):
    for url, code in (
        ("data:image/png;base64,????", "invalid_base64_image"),
        ("data:image/png;base64,aGVsbG8gdGhlcmU=", "invalid_image_format"),
        ("http://127.0.0.1:9/x.png", "invalid_image_url"),
    ):
        with pytest.raises(openai.BadRequestError) as error:
            client.responses.create(model=LLAVA, input=shown("What is it?", url))
        assert (error.value.code, error.value.param) == (code, "input[0].content[1].image_url")


# ---- forms and tools ------------------------------------------------------------------------------------------------


class Word(enum.StrEnum):
    YES = "yes"
    NO = "no"


class Inner(BaseModel):
    word: Word


class Judgement(BaseModel):
    inner: Inner
    right: bool


FORCED = {**GREEDY, "max_output_tokens": 2000}


def test_a_parsed_answer(client):
    response = client.responses.parse(input=SUM, text_format=Judgement, **FORCED)
    assert isinstance(response.output_parsed, Judgement)
    with client.responses.stream(input=SUM, text_format=Judgement, **FORCED) as stream:
        assert stream.get_final_response().output_parsed == response.output_parsed


def test_one_of_several_choices_is_the_true_one(client, picture):
    colors = ["blue", "green", "red", "yellow"]
    response = client.responses.create(
        model=LLAVA, input=shown("What color is the circle?", picture), temperature=0,
        extra_body={"guided_choice": colors},
    )  # fmt: skip
    assert response.output_text == "red"


@pytest.mark.parametrize(
    ("choice", "parallel"),
    [("required", False), ("required", True), ({"type": "function", "name": "Judgement"}, True)],
)
def test_a_forced_tool_with_nested_types(client, choice, parallel):
    tools = [flat(openai.pydantic_function_tool(kind)) for kind in (Inner, Judgement)]
    wanted = {"input": SUM, "tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel, **FORCED}
    response = client.responses.create(**wanted)
    kinds = {"Judgement": Judgement, "Inner": Inner}
    assert response.output
    for call in response.output:
        assert call.type == "function_call"
        kinds[call.name].model_validate_json(call.arguments)
    if choice != "required":
        assert [call.name for call in response.output] == ["Judgement"]
    with client.responses.stream(**wanted) as stream:
        streamed = stream.get_final_response()
    assert [(call.name, call.arguments) for call in streamed.output] == [
        (call.name, call.arguments) for call in response.output
    ]


def flat(tool: dict) -> dict:
    """A chat's tool as this API spells it."""
    return {"type": "function", **tool["function"]}


def test_what_came_of_a_call_goes_back(client):
    tools = [flat(openai.pydantic_function_tool(Inner))]
    first = client.responses.create(input=SUM, tools=tools, tool_choice="required", **FORCED)
    output = [{"type": "function_call_output", "call_id": call.call_id, "output": "42"} for call in first.output]
    again = [{"role": "user", "content": SUM}, *first.output, *output]
    response = client.responses.create(input=again, tools=tools, **GREEDY)
    assert response.status in ("completed", "incomplete")
    assert response.usage.input_tokens > first.usage.input_tokens


# ---- errors, and what has no type in Python -------------------------------------------------------------------------


def test_errors_are_the_clients_own(client):
    create = client.responses.create
    for fields, param, code in (
        ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_parameter"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "nonsense"}}}},
         "text.format.schema", "invalid_json_schema"),
        ({"extra_body": {"logit_bias": {"1000000": 1}}}, "logit_bias", None),
    ):  # fmt: skip
        with pytest.raises(openai.BadRequestError) as error:
            create(input=SUM, **GREEDY, **fields)
        assert (error.value.param, error.value.code) == (param, code)
    tools = [{"type": "function", "name": "x", "parameters": {"type": "nonsense"}, "strict": True}]
    with pytest.raises(openai.BadRequestError) as error:
        create(input=SUM, tools=tools, tool_choice="required", **GREEDY)
    assert (error.value.param, error.value.code) == ("tools", "invalid_json_schema")
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            call("resp_1")
    with pytest.raises(openai.NotFoundError):
        list(client.responses.input_items.list("resp_1"))


def for_each(hear: Callable[[object], None], stream: Iterable[object]) -> None:
    for event in stream:
        hear(event)


def test_a_stream_that_breaks_off_is_never_taken_for_a_short_answer(client):
    heard = []
    stream = client.responses.create(model="dying", input="a b c d", stream=True)
    with pytest.raises(openai.APIError) as error:
        for_each(heard.append, stream)
    assert heard[-1].type == "response.output_text.delta"
    assert (error.value.code, error.value.type) == ("model_loading", "server_error")
    assert "died while it was answering" in error.value.message
    with pytest.raises(openai.APIError), client.responses.stream(model="dying", input="a b c d") as stream:
        stream.get_final_response()


def test_recorded_bodies_hold_against_the_clients_types(served, picture):
    """Strictly: the client itself takes anything."""
    tools = [flat(openai.pydantic_function_tool(Judgement))]
    for fields in (
        {"input": SUM, **GREEDY}, {"model": LLAVA, "input": shown("What color is the star?", picture)},
        {"input": SUM, "include": ["message.output_text.logprobs"], "top_logprobs": 2, **GREEDY},
        {"input": SUM, "tools": tools, "tool_choice": {"type": "function", "name": "Judgement"}, **FORCED},
        {"input": SUM, **{**GREEDY, "max_output_tokens": 1}},
    ):  # fmt: skip
        whole = answer(respond(served, **{"temperature": 0, **fields}))
        told = events(respond(served, **{"temperature": 0, "stream": True, **fields}))
        assert checked(told[-1]["response"]).output_text == checked(whole).output_text == text_of(told)
        assert told[-1]["response"]["status"] == whole["status"]
        assert [item.get("arguments") for item in whole["output"]] == [
            item.get("arguments") for item in told[-1]["response"]["output"]
        ]
