"""litellm 1.109: both of its ways to an OpenAI-compatible server, its text completions, its errors."""

import litellm
import pytest

PROVIDERS = ("openai", "hosted_vllm")
SUM = [{"role": "user", "content": "What is 17 + 25?"}]


@pytest.fixture(params=PROVIDERS)
def ask(request, url):
    """Calls `litellm.completion` for a model of the server, by one of the providers."""

    def ask(model: str, messages: list, **more):
        return litellm.completion(
            model=f"{request.param}/{model}", messages=messages, api_base=url, api_key="any", max_retries=0,
            **{"temperature": 0, **more},
        )  # fmt: skip

    return ask


def test_a_sum(ask, mixtral):
    answer = ask(mixtral, SUM, max_tokens=20)
    assert answer.choices[0].message.content == "42"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_with_usage(ask, mixtral):
    whole = ask(mixtral, SUM, max_tokens=20)
    chunks = list(ask(mixtral, SUM, max_tokens=20, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "42"
    told = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    assert [usage.prompt_tokens for usage in told] == [whole.usage.prompt_tokens]
    built = litellm.stream_chunk_builder(chunks, messages=SUM)
    assert built.choices[0].message.content == "42"
    assert built.choices[0].finish_reason == "stop"


def test_a_picture(ask, llava, drawn):
    for image in ({"url": drawn.data_uri}, drawn.data_uri):
        parts = [{"type": "text", "text": drawn.question}, {"type": "image_url", "image_url": image}]
        answer = ask(llava, [{"role": "user", "content": parts}], max_tokens=20)
        assert answer.choices[0].message.content == drawn.color


def test_an_overflow_is_one(ask, mixtral, too_long):
    with pytest.raises(litellm.ContextWindowExceededError):
        ask(mixtral, [{"role": "user", "content": too_long}])


def test_other_errors(ask, llava, mixtral):
    with pytest.raises(litellm.NotFoundError, match="does not exist"):
        ask("gpt-x", SUM)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    with pytest.raises(litellm.BadRequestError, match="image"):
        ask(llava, [{"role": "user", "content": [image]}])
    with pytest.raises(litellm.BadRequestError, match="temperature"):
        ask(mixtral, SUM, temperature=3)


def test_an_answer_that_breaks_off_is_an_error(ask):
    stream = ask("dying", [{"role": "user", "content": "one two three four five"}], stream=True)
    assert next(text for chunk in stream if (text := chunk.choices[0].delta.content)) == "one"
    with pytest.raises(litellm.exceptions.MidStreamFallbackError, match="died while it was answering"):
        list(stream)


def test_a_text_completion(url, mixtral):
    wanted = {"model": f"text-completion-openai/{mixtral}", "prompt": "[INST] What is 17 + 25? [/INST]",
              "api_base": url, "api_key": "any", "temperature": 0, "max_tokens": 8}  # fmt: skip
    answer = litellm.text_completion(**wanted)
    assert answer.choices[0].text.strip() == "42"
    streamed = litellm.text_completion(**wanted, stream=True)
    assert "".join(chunk.choices[0].text or "" for chunk in streamed) == answer.choices[0].text


def test_a_forced_tool(ask, mixtral):
    schema = {"type": "object", "properties": {"right": {"type": "boolean"}}, "required": ["right"],
              "additionalProperties": False}  # fmt: skip
    tools = [{"type": "function", "function": {"name": "judge", "parameters": schema}}]
    choice = ask(mixtral, SUM, tools=tools, tool_choice="required", parallel_tool_calls=False).choices[0]
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert call.function.name == "judge"
    assert call.function.arguments in ('{"right": true}', '{"right": false}')
