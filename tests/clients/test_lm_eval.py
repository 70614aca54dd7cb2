"""lm-eval's local-completions: its log-likelihoods are the engine's own, and its answers are right."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from client_environments import INSTALL, python_of
from replicas import start_here
from servers import serving

from triptych.engine.config import EngineConfig
from triptych.engine.engine import Engine
from triptych.engine.request import Request, SamplingParams
from triptych.models import identify
from triptych.server.served import ModelSpec, ServedModel

MIXTRAL = "triptych/tiny-mixtral"
OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20}
SCRIPT = Path(__file__).parent / "elsewhere" / "run_lm_eval.py"
# Of each question the right answer comes first.
QUESTIONS = {"17 + 25": ["42", "43", "24"], "9 - 4": ["5", "6", "13"], "50 + 40": ["90", "10", "91"]}
# Among ids the beginning token is written out: lm-eval adds none to what it encodes, and nor does a server.
ASKED = {"ids": "<s> [INST] What is {}? [/INST]", "texts": "[INST] What is {}? [/INST]"}
CHOICE = """\
task: {form}_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: 0
target_delimiter: " "
metric_list: [{{metric: acc}}]
"""
TEXT = """\
task: {form}_text
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[0]}}}}"
generation_kwargs: {{until: ["</s>", "\\n"], max_gen_toks: 8}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
filter_list: [{{name: stripped, filter: [{{function: remove_whitespace}}, {{function: take_first}}]}}]
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """What lm-eval made of the tasks in each of its ways to ask."""
    folder = tmp_path_factory.mktemp("lm-eval")
    out = folder / "out.json"
    for form in ASKED:
        file = folder / f"{form}.json"
        lines = [{"question": ASKED[form].format(question), "choices": QUESTIONS[question]} for question in QUESTIONS]
        file.write_text("\n".join(map(json.dumps, lines)))
        for name, task in (("choice", CHOICE), ("text", TEXT)):
            (folder / f"{form}-{name}.yaml").write_text(task.format(file=file, form=form))
    ids, texts = ["ids_choice", "ids_text"], ["texts_choice", "texts_text"]
    python = python_of("clients")
    variables = {"HOME": str(folder), "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
                 "PATH": os.environ["PATH"], "OPENAI_API_KEY": "any"}  # fmt: skip
    # Remote tokenizers are asked for without naming a model, so the server has one only.
    with serving([ServedModel(ModelSpec(MIXTRAL, MIXTRAL, (), OPTIONS), start_here)]) as server:
        server.do(server.router.find(MIXTRAL).ready)  # for the server's tokenizer it waits a few seconds only
        base = {"base_url": f"{server.url}/v1/completions", "model": MIXTRAL, "max_retries": 1}
        ways = {
            "ids": {"tasks": ids, "arguments": {**base, "num_concurrent": 4}},  # tokenizer_backend=auto
            "lists of ids": {"tasks": ids, "arguments": {**base, "tokenizer_backend": "remote", "batch_size": 3}},
            "texts": {"tasks": texts,
                      "arguments": {**base, "tokenizer_backend": "remote", "tokenized_requests": False}},
            "no tokenizer": {"tasks": texts[1:], "arguments": {**base, "tokenizer_backend": "none"}},
        }  # fmt: skip
        command = [python, SCRIPT, json.dumps(ways), folder, out]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-8000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def likelihoods() -> dict[tuple[str, str], float]:
    """The log-likelihood of each choice behind its question, by a pass of the engine over both.

    Of texts lm-eval does not know the beginning token that servers add (vLLM too), so it begins to sum one token early:
    each choice has the score of the question's last token as well.
    """
    config = EngineConfig(identify(MIXTRAL).folder, precision="fp32", device="cpu", threads=1, kv_memory=64 << 20)
    engine, found = Engine(config), {}
    try:
        for form, question, choice in ((f, q, c) for f in ASKED for q in QUESTIONS for c in QUESTIONS[q]):
            asked = ASKED[form].format(question)
            before = len(engine.raw_prompt(asked).token_ids) - (form == "texts")
            prompt = engine.raw_prompt(f"{asked} {choice}")
            request = Request(asked + choice, prompt, SamplingParams(max_tokens=1, prompt_logprobs=0))
            scored = engine.submit(request).result().prompt_logprobs
            assert len(scored) == len(prompt.token_ids)
            found[asked, f" {choice}"] = sum(entry.logprob for entry in scored[before:])
    finally:
        engine.close()
    return found


pytestmark = pytest.mark.timeout(INSTALL + 280)


WAYS = {"ids": "ids", "lists of ids": "ids", "texts": "texts", "no tokenizer": "texts"}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "no tokenizer"])
def test_log_likelihoods_are_the_engines(found, likelihoods, way):
    task, asked = f"{WAYS[way]}_choice", {}
    for sample in found[way]["samples"][task]:
        for arguments, [[likelihood, _]] in zip(sample["arguments"], sample["resps"], strict=True):
            asked[tuple(arguments)] = float(likelihood)
    assert len(asked) == 9
    assert asked == pytest.approx({pair: likelihoods[pair] for pair in asked}, abs=1e-3)
    assert found[way]["results"][task]["acc,none"] == 1.0


def test_the_best_continuation_is_called_greedy(found):
    """What an answer that greedy decoding gives is marked as; the two numbers it compares must be the same text."""
    for sample in found["ids"]["samples"]["ids_choice"]:
        greedy = [marked in (True, "True") for [[_, marked]] in sample["resps"]]
        assert greedy == [True, False, False]


@pytest.mark.parametrize("way", WAYS)
def test_generated_answers_are_right(found, way):
    assert found[way]["results"][f"{WAYS[way]}_text"]["exact_match,stripped"] == 1.0
