"""instructor 1.17 over OpenAI's client: typed answers by a forced tool (its default) and by a schema."""

from typing import Literal

import instructor
import pytest
from openai import OpenAI
from pydantic import BaseModel

SUM = [{"role": "user", "content": "What is 17 + 25?"}]


class Thing(BaseModel):
    """One object in the picture."""

    shape: Literal["circle", "square", "triangle"]
    color: Literal["red", "green", "blue"]


class Verdict(BaseModel):
    """Whether a sum is right."""

    right: bool
    thing: Thing


@pytest.fixture(params=["TOOLS", "TOOLS_STRICT", "JSON_SCHEMA"])
def client(request, url):
    return instructor.from_openai(OpenAI(base_url=url, api_key="any", max_retries=0), instructor.Mode[request.param])


def test_a_typed_answer(client, mixtral):
    answer = client.chat.completions.create(
        model=mixtral, messages=SUM, response_model=Verdict, max_retries=0, temperature=0, max_tokens=1000
    )
    assert isinstance(answer, Verdict)
    assert answer._raw_response.usage.total_tokens > 0
