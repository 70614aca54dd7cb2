"""pydantic-ai 2.68 with its OpenAIChatModel: typed output through tools and through a schema, pictures, streams."""

import asyncio
from enum import StrEnum

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput, ToolOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

SUM = "What is 17 + 25?"
SETTINGS = {"temperature": 0.0, "max_tokens": 1000}


class Judgement(StrEnum):
    RIGHT = "right"
    WRONG = "wrong"


class Doubt(BaseModel):
    """That a sum cannot be judged."""

    certain: bool


class Verdict(BaseModel):
    """Whether a sum is right."""

    judgement: Judgement
    certain: bool


@pytest.fixture
def model(url):
    def model(name: str) -> OpenAIChatModel:
        return OpenAIChatModel(name, provider=OpenAIProvider(base_url=url, api_key="any"))

    return model


def test_a_sum(model, mixtral):
    result = Agent(model(mixtral), model_settings=SETTINGS).run_sync(SUM)
    assert result.output == "42"
    usage = result.usage
    assert usage.requests == 1
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


def test_instructions_and_a_second_turn(model, mixtral):
    agent = Agent(model(mixtral), instructions="Answer with the number alone.", model_settings=SETTINGS)
    first = agent.run_sync(SUM)
    assert first.output == "42"
    assert agent.run_sync("What is 5 + 6?", message_history=first.all_messages()).output == "11"


@pytest.mark.parametrize("form", [Verdict, ToolOutput(Verdict), NativeOutput(Verdict)], ids=["plain", "tool", "schema"])
def test_typed_output(model, mixtral, form):
    result = Agent(model(mixtral), output_type=form, model_settings=SETTINGS, retries=0).run_sync(SUM)
    assert isinstance(result.output, Verdict)


def test_a_choice_of_types(model, mixtral):
    result = Agent(model(mixtral), output_type=[Verdict, Doubt], model_settings=SETTINGS, retries=0).run_sync(SUM)
    assert isinstance(result.output, Verdict | Doubt)


def test_a_picture(model, llava, drawn):
    content = BinaryContent(data=drawn.file.read_bytes(), media_type="image/png")
    result = Agent(model(llava), model_settings=SETTINGS).run_sync([drawn.question, content])
    assert result.output == drawn.color


def test_a_stream_of_text(model, mixtral):
    asyncio.run(stream_text(model, mixtral))


async def stream_text(model, mixtral):
    async with Agent(model(mixtral), model_settings=SETTINGS).run_stream(SUM) as result:
        said = [text async for text in result.stream_text(delta=True, debounce_by=None)]
    assert "".join(said) == "42"
    whole = await Agent(model(mixtral), model_settings=SETTINGS).run(SUM)
    assert (result.usage.input_tokens, result.usage.output_tokens) == (
        whole.usage.input_tokens, whole.usage.output_tokens,
    )  # fmt: skip


def test_a_stream_of_typed_output(model, mixtral):
    asyncio.run(stream_typed(model, mixtral))


async def stream_typed(model, mixtral):
    async with Agent(model(mixtral), output_type=Verdict, model_settings=SETTINGS).run_stream(SUM) as result:
        assert isinstance(await result.get_output(), Verdict)


def test_errors(model, mixtral, too_long):
    with pytest.raises(ModelHTTPError) as error:
        Agent(model(mixtral)).run_sync(too_long)
    assert (error.value.status_code, error.value.body["code"]) == (400, "context_length_exceeded")
    with pytest.raises(ModelHTTPError) as error:
        Agent(model("gpt-x")).run_sync(SUM)
    assert error.value.status_code == 404
