"""The smaller commands, and what all commands have in common."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import triptych
from triptych import embedded
from triptych.cli import COMMANDS, main
from triptych.engine.errors import DownloadError


def test_help_lists_every_command(cli):
    for words in ([], ["--help"], ["-h"]):
        result = cli(*words)
        assert result.exit_code == 0
        assert all(f"  {name} " in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(cli, name):
    result = cli(name, "-h")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {name}")


def test_unknown_commands_and_options_are_one_line(cli):
    for words in (["capshun"], ["--nope"], ["models", "--nope"], ["version", "extra"]):
        result = cli(*words)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1


def test_version(cli):
    assert triptych.__version__ in cli("--version").stdout
    assert "torch" in cli("version").stdout
    facts = json.loads(cli("version", "--json").stdout)
    assert facts["triptych"] == triptych.__version__
    assert facts["click"]


def test_models_lists_what_can_be_named(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    text = cli("models").stdout
    assert all(name in text for name in embedded.NAMES)
    assert "none yet" in text
    assert "llava, llava_next, llama, mistral, mixtral" in text
    folder = tmp_path / "models--org--half/snapshots/abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    assert "incomplete: pull it again" in cli("models").stdout
    facts = json.loads(cli("models", "--json").stdout)
    assert [model["name"] for model in facts["embedded"]] == list(embedded.NAMES)
    assert facts["cached"][0]["name"] == "org/half"
    assert "mixtral" in facts["architectures"]


def test_explain_says_what_and_why_without_loading(cli):
    result = cli("explain", "triptych/tiny-llava-1.6", "--precision", "int4", "--kv-memory", "64M")
    assert result.exit_code == 0
    assert "embedded, llava_next" in result.stdout
    expected = {"precision": "asked for", "kv cache": "asked for", "context": "made for", "device": ""}
    for name, reason in expected.items():
        [line] = [line for line in result.stdout.splitlines() if line.startswith(name)]
        assert reason in line
    assert cli.engines == []


def test_no_color_is_respected(cli, monkeypatch):
    words = ["explain", "triptych/tiny-mixtral", "--device", "cpu"]
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in CliRunner().invoke(main, words, color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in CliRunner().invoke(main, words, color=True).stdout


def test_explain_as_json(cli):
    result = cli("explain", "triptych/tiny-mixtral", "--json", "--max-context", "64", "--device", "cpu")
    facts = json.loads(result.stdout)
    assert (facts["architecture"], facts["max_context"], facts["device"]) == ("mixtral", 64, "cpu")
    assert facts["weight_bytes"] > 0
    assert {"name", "value", "reason"} == set(facts["decisions"][0])


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "config.json"),
        ("{", "not valid JSON"),
        ('{"model_type": "bert"}', "supported are llava, llava_next, llama"),
    ],
)
def test_explain_refuses_a_folder_that_is_no_checkpoint(cli, tmp_path, content, cause):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    result = cli("explain", tmp_path)
    assert result.exit_code == 1
    assert cause in result.stderr
    assert result.stderr.count("\n") == 1


def test_explain_says_what_would_fit(cli):
    result = cli("explain", "triptych/tiny-mixtral", "--kv-memory", "1K")
    assert result.exit_code == 1
    assert "KV cache" in result.stderr


def test_pull_prints_the_folder(cli, monkeypatch, tmp_path):
    calls = []

    def download(repo, revision=None, progress=None, *, refresh=False):
        calls.append((repo, revision, refresh))
        return Path("/cache/snapshot")

    monkeypatch.setattr("triptych.engine.checkpoints.hub.download", download)
    assert cli("pull", "org/model").stdout == "/cache/snapshot\n"
    cli("pull", "org/model@v2", "-q")
    cli("pull", "org/model", "--revision", "v3")
    assert calls == [("org/model", None, True), ("org/model", "v2", True), ("org/model", "v3", True)]


def test_pull_explains_what_it_cannot_fetch(cli, monkeypatch, tmp_path):
    embedded_model = cli("pull", "triptych/tiny-mixtral")
    assert embedded_model.exit_code == 0
    assert "comes with Triptych" in embedded_model.stderr
    assert cli("pull", tmp_path).exit_code == 2
    assert cli("pull", "nonsense").exit_code == 1

    def offline(*_, **__):
        raise DownloadError("org/model: the hub cannot be reached; connect and run it again")

    monkeypatch.setattr("triptych.engine.checkpoints.hub.download", offline)
    result = cli("pull", "org/model")
    assert result.exit_code == 1
    assert result.stderr == "error: org/model: the hub cannot be reached; connect and run it again\n"


def test_an_interrupted_pull_says_how_to_go_on(cli, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("triptych.engine.checkpoints.hub.download", stop)
    result = cli("pull", "org/model")
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr


def test_unexpected_errors_are_one_line_unless_debugging(cli, monkeypatch):
    def broken():
        raise KeyError("oops")

    monkeypatch.setattr("triptych.cli.models.embedded_models", broken)
    result = cli("models")
    assert result.exit_code == 1
    assert result.stderr == "error: unexpected KeyError: 'oops' (--debug shows where; please report it)\n"
    assert "Traceback" in cli("--debug", "models").stderr
    monkeypatch.setenv("TRIPTYCH_DEBUG", "1")
    assert "Traceback" in cli("models").stderr
    assert "Traceback" in cli("caption", "--nope").stderr


def test_an_operating_system_error_names_the_file(cli, monkeypatch):
    def refused():
        raise PermissionError(13, "Permission denied", "/secret")

    monkeypatch.setattr("triptych.cli.models.embedded_models", refused)
    assert cli("models").stderr == "error: /secret: Permission denied\n"


@pytest.mark.parametrize("words", [("--json",), ()])
def test_bench_prints_rates_and_their_share_of_the_machine(tmp_path, words):
    """With a real engine, on the smallest embedded model: the figures must exist, not be good."""
    picture = Path(__file__).parents[2] / "examples/two-shapes.png"
    small = ["--prompt-tokens", "20", "--tokens", "3", "--rows", "2", "--repeat", "1", "--kv-memory", "64M"]
    named = ["--model", "triptych/tiny-llava-1.5", "--image", str(picture)]
    result = CliRunner().invoke(main, ["bench", *small, *named, *words])
    assert result.exit_code == 0, result.stderr
    if not words:
        assert "GB/s read" in result.stdout
        assert "prefill 20 tokens" in result.stdout
        return
    facts = json.loads(result.stdout)
    assert facts["machine"]["read_gb_s"] > 0
    rows = {row["name"]: row for row in facts["results"]}
    assert list(rows)[:4] == ["load", "prefill 20 tokens", "decode 3 tokens", "decode 3 tokens, 2 together"]
    assert rows["load"]["gb_s"] > 0
    assert 0 < rows["prefill 20 tokens"]["share_of_compute"] < 10
    assert 0 < rows["decode 3 tokens"]["share_of_read"] < 10
    assert any(name.endswith(", again") for name in rows)


def test_bench_refuses_what_does_not_fit(cli):
    assert cli("bench", "--tokens", "1").exit_code == 2
    assert cli("bench", "--image", "missing.png").exit_code == 2
