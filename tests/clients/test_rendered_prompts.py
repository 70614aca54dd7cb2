"""The prompt that pages of hosted LLaVA 1.5 tell people to send, with OpenAI's client: it is wrapped once."""

import base64

import pytest
from openai import OpenAI

MODEL = "triptych/tiny-llava-1.5"


@pytest.fixture
def ask(served, pictures):
    """Asks about the red circle, with `text` as it is."""
    data = base64.b64encode((pictures / "red-circle.png").read_bytes()).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}

    def ask(text: str, model: str = MODEL):
        content = [{"type": "text", "text": text}, image]
        with OpenAI(base_url=f"{served}/v1", api_key="any") as client:
            messages = [{"role": "user", "content": content}]
            return client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=30)

    return ask


@pytest.mark.parametrize(
    "text",
    [
        "USER: <image>\nWhat color is the circle?\nASSISTANT:",
        "USER: What color is the circle?\nASSISTANT:",
        "USER: <image>\nWhat shape is this?\nASSISTANT: a circle</s>USER: What color is the circle?\nASSISTANT:",
    ],
)
def test_a_rendered_prompt_is_answered(ask, text):
    assert ask(text).choices[0].message.content == "red"


def test_it_is_the_same_prompt_as_the_plain_question(ask):
    rendered = ask("USER: <image>\nWhat color is the circle?\nASSISTANT:")
    assert rendered.usage.prompt_tokens == ask("What color is the circle?").usage.prompt_tokens


def test_on_another_model_it_is_a_text(ask):
    other = "triptych/tiny-llava-1.6"
    rendered = ask("USER: <image>\nWhat color is the circle?\nASSISTANT:", other)
    assert rendered.usage.prompt_tokens > ask("What color is the circle?", other).usage.prompt_tokens
