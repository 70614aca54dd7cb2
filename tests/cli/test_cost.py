"""`triptych cost`: a measurement and the price of an hour become dollars, and stand beside others'."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from triptych.catalogue.load import recorded
from triptych.cli import main

BENCH = {
    "model": "mistralai/Mixtral-8x7B-Instruct-v0.1", "precision": "int4", "device": "cuda", "machine": {},
    "results": [
        {"name": "prefill 256 tokens", "seconds": 0.1, "tokens_per_second": 10_000.0},
        {"name": "decode 64 tokens", "seconds": 1.0, "tokens_per_second": 100.0},
        {"name": "decode 64 tokens, 8 together", "seconds": 1.0, "tokens_per_second": 4000.0},
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def data(monkeypatch, tmp_path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TRIPTYCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "data"))
    (tmp_path / "bench.json").write_text(json.dumps(BENCH))
    return tmp_path / "data"


def test_a_measurement_in_dollars_with_the_break_even(cli, data):
    result = cli("cost", "--gpu-hour", "3.60", "--measurement", "bench.json", "--workload", "input=3M,output=1M")
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert "int4 on cuda: $3.60 an hour" in text
    assert "$0.10" in text
    assert "$0.25" in text
    # 3M x $0.10 + 1M x $0.25 = $0.55 when busy; DeepInfra takes $1.60: busy over 34.4 %, 3.60 / 1.60 an hour.
    [deepinfra] = [line for line in text.splitlines() if line.startswith("deepinfra/mixtral-8x7b")]
    assert "busy over 34.4% of the time, which is 2.25 such workloads an hour" in deepinfra
    assert "never: it is free there" in text
    assert "costs 1.1 times as much" in text  # Perplexity, $0.49
    assert "Recorded as this machine's offer: " in text
    assert cli.engines == []
    assert len(recorded(data)) == 1
    [own] = [line for line in cli("prices", "mixtral").stdout.splitlines() if line.startswith("This machine")]
    assert "$0.10" in own
    assert "$0.25" in own


def test_json_and_nothing_recorded(cli, data):
    words = ["cost", "--watts", "350", "--kwh", "0.30", "--measurement", "-", "--no-record", "--json"]
    facts = json.loads(cli(*words, stdin=json.dumps(BENCH)).stdout)
    assert facts["usd_per_hour"] == "0.105"
    assert facts["usd_per_1m_input"] == "0.002916667"
    assert facts["usd_per_caption"] is None
    assert facts["formulas"]["input"].startswith("(350 W x $0.30 / kWh)")
    assert facts["record"] is None
    shares = {each["route"]: each["busy_share"] for each in facts["break_even"]}
    assert shares["nvidia/mixtral-8x7b"] is None
    assert 0 < shares["deepinfra/mixtral-8x7b"] < 1
    assert recorded(data) == []


def test_another_models_providers(cli, tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps({**BENCH, "model": "triptych/tiny-mixtral"}))
    words = ["cost", "--gpu-hour", "1", "--measurement", "tiny.json", "--no-record"]
    assert "Nobody is known to sell Tiny Mixtral (demonstration) at a price" in cli(*words).stdout
    assert "deepinfra/mixtral-8x7b" in cli(*words, "--against", "mixtral").stdout


def test_a_model_that_the_catalogue_has_not(cli, tmp_path, data):
    (tmp_path / "mine.json").write_text(json.dumps({**BENCH, "model": "my-finetune"}))
    result = cli("cost", "--gpu-hour", "1", "--measurement", "mine.json")
    assert "Not recorded: the catalogue has no model called my-finetune." in result.stdout
    assert recorded(data) == []


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        ([], 2, "say what the machine costs: --gpu-hour, or --watts with --kwh"),
        (["--watts", "350"], 2, "needs both --watts and --kwh"),
        (["--gpu-hour", "-3"], 2, "-3 is negative"),
        (["--gpu-hour", "three"], 2, "not dollars in decimal digits"),
        (["--gpu-hour", "3", "--share", "0"], 2, "--share"),
        (["--gpu-hour", "3", "--measurement", "nothing.json"], 1, "nothing.json: No such file"),
        (["--gpu-hour", "3", "--measurement", "list.json"], 1, "list.json: this is not what `triptych bench --json`"),
        (["--gpu-hour", "3", "--measurement", "bench.json", "-w", "captions=1"], 1, "takes no pictures"),
        (["--gpu-hour", "3", "--measurement", "bench.json", "--against", "nobody"], 1, "has no model 'nobody'"),
        (["--gpu-hour", "3", "--model", "nowhere"], 1, "no model is called 'nowhere'"),
    ],
)
def test_errors_are_one_line_with_a_way_out(cli, tmp_path, words, code, why):
    (tmp_path / "list.json").write_text("[]")
    result = cli("cost", *words)
    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert why in result.stderr
    assert result.stderr.count("\n") == 1


def test_it_measures_when_it_is_given_nothing(data):
    words = ["cost", "--gpu-hour", "0.10", "--model", "triptych/tiny-llava-1.6", "--device", "cpu", "--json"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["model"] == "triptych/tiny-llava-1.6"
    assert all(float(facts[name]) > 0 for name in ("usd_per_1m_input", "usd_per_1m_output", "usd_per_caption"))
    assert "picture of" in facts["formulas"]["caption"]
    assert len(recorded(data)) == 1
