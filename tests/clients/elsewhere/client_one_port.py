"""openai and replicate in one program, each with its own variable of the environment, before one server's root."""

import os

import openai as module
import pytest
import replicate
from openai import OpenAI
from replicate.exceptions import ReplicateError

URL = os.environ["TRIPTYCH_URL"]
SUM = "What is 17 + 25?"
MIXTRAL = "mistralai/mixtral-8x7b-instruct-v0.1"


def test_the_variables_are_those_of_one_server():
    assert os.environ["OPENAI_BASE_URL"] == f"{URL}/v1"
    assert os.environ["REPLICATE_BASE_URL"] == URL


def test_both_ask_the_same_models(drawn):
    with OpenAI() as openai:
        image = {"type": "image_url", "image_url": {"url": drawn.data_uri}}
        content = [{"type": "text", "text": drawn.question}, image]
        answer = openai.chat.completions.create(
            model="yorickvp/llava-13b", messages=[{"role": "user", "content": content}], temperature=0
        )
        assert answer.choices[0].message.content == drawn.color
        answer = openai.chat.completions.create(
            model=MIXTRAL, messages=[{"role": "user", "content": SUM}], temperature=0
        )
        assert answer.choices[0].message.content == "42"
    asked = {"image": drawn.data_uri, "prompt": drawn.question, "temperature": 0}
    assert "".join(replicate.run("yorickvp/llava-13b", input=asked)) == drawn.color
    assert "".join(replicate.run(MIXTRAL, input={"prompt": SUM, "top_k": 1})).strip() == "42"


def test_models_are_listed_to_each_in_its_own_form():
    with OpenAI() as openai:
        theirs = {model.id for model in openai.models.list()}
        assert openai.models.retrieve(MIXTRAL).id == "triptych/tiny-mixtral"
    # Calls of the module say less of who they are.
    assert {model.id for model in module.models.list()} == theirs
    ours = {model.id for model in replicate.models.list()}
    assert "triptych/tiny-mixtral" in theirs & ours
    assert replicate.models.get(MIXTRAL).latest_version.id


def test_files_of_each_are_its_own(drawn):
    with OpenAI() as openai:
        theirs = openai.files.create(file=drawn.file, purpose="vision")
        ours = replicate.files.create(drawn.file)
        assert theirs.id.startswith("file-")
        assert openai.files.retrieve(theirs.id).filename == replicate.files.get(ours.id).name == drawn.file.name
        assert openai.files.content(theirs.id).read() == drawn.file.read_bytes()
        assert [file.id for file in openai.files.list()] == [theirs.id]
        assert [file.id for file in replicate.files.list()] == [ours.id]
        assert openai.files.delete(theirs.id).deleted
    assert replicate.files.delete(ours.id)
    assert [file.id for file in replicate.files.list()] == []
    with pytest.raises(ReplicateError) as caught:
        replicate.files.get(ours.id)
    assert caught.value.status == 404
