"""The `llm` command as it is, told of the server by a file in its own folder."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from client_environments import CLIENTS, INSTALL, python_of

pytestmark = pytest.mark.timeout(INSTALL + 120)
ELSEWHERE = CLIENTS / "elsewhere"
MODELS = """\
- model_id: eye
  model_name: triptych/tiny-llava-1.6
  api_base: {url}/v1
  vision: true
- model_id: sums
  model_name: triptych/tiny-mixtral
  api_base: {url}/v1
  supports_schema: true
- model_id: raw
  model_name: triptych/tiny-mixtral
  api_base: {url}/v1
  completion: true
- model_id: dying
  model_name: dying
  api_base: {url}/v1
"""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def llm(served, tmp_path_factory):
    """Runs `llm` with arguments and gives back how it ended."""
    folder = tmp_path_factory.mktemp("llm")
    (folder / "extra-openai-models.yaml").write_text(MODELS.format(url=served))
    variables = {"LLM_USER_PATH": str(folder), "HOME": str(folder), "PATH": os.environ["PATH"]}
    command = [python_of("clients"), ELSEWHERE / "run_llm.py"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=variables, stdin=pipe, stdout=pipe, text=True, cwd=folder) as process:

        def run(*arguments: object) -> Ended:
            process.stdin.write(json.dumps([str(each) for each in arguments]) + "\n")
            process.stdin.flush()
            return Ended(**json.loads(process.stdout.readline()))

        yield run
        process.stdin.close()


def said(done: Ended) -> str:
    assert done.code == 0, done.err
    return done.out.strip()


def test_a_conversation_and_its_usage_in_the_log(llm):
    assert said(llm("-m", "sums", "-o", "temperature", 0, "--no-stream", "What is 5 + 6?")) == "11"
    assert said(llm("-c", "-o", "temperature", 0, "What is 17 + 25?")) == "42"
    [entry] = json.loads(said(llm("logs", "-n", 1, "--json")))
    assert entry["input_tokens"] > entry["output_tokens"] > 0


def test_a_picture_as_an_attachment(llm, pictures: Path):
    file = pictures / "blue-square.png"
    assert said(llm("-m", "eye", "-o", "temperature", 0, "What color is the square?", "-a", file)) == "blue"


def test_a_schema(llm):
    answer = json.loads(said(llm("-m", "sums", "-o", "temperature", 0, "--schema", "right bool", "What is 17 + 25?")))
    assert list(answer) == ["right"]
    assert isinstance(answer["right"], bool)


def test_a_completion(llm):
    asked = llm("-m", "raw", "-o", "temperature", 0, "-o", "max_tokens", 8, "[INST] What is 17 + 25? [/INST]")
    assert said(asked) == "42"


def test_what_is_wrong_is_said(llm):
    for arguments, reason in (
        (("-m", "sums", "-o", "temperature", 0, "1 + 1 " * 5000), "maximum context length"),
        (("-m", "dying", "one two three four"), "died while it was answering"),
    ):
        done = llm(*arguments)
        assert done.code != 0
        assert reason in done.err
