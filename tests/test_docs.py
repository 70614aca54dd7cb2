"""What can be typed is documented: commands and options in docs/cli.md, names and parameters in docs/python.md."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

import triptych
from triptych import embedded
from triptych.cli import COMMANDS, main
from triptych.engine import errors
from triptych.engine.config import EngineConfig
from triptych.engine.request import SamplingParams, Timing, Usage
from triptych.server.metrics import Metrics

ROOT = Path(__file__).parent.parent
CLI = (ROOT / "docs/cli.md").read_text()
PYTHON = (ROOT / "docs/python.md").read_text()
METRICS = (ROOT / "docs/metrics.md").read_text()
README = (ROOT / "README.md").read_text()

SHARED = CLI.partition("## Options of every command")[2].partition("\n## ")[0]


def section(command: str) -> str:
    return CLI.partition(f"\n## {command}\n")[2].partition("\n## ")[0]


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def parameters(name: str) -> list[tuple[str, click.Parameter]]:
    """Those of a command and of the commands in it, each with the words that it stands behind."""
    found = command(name)
    inner = found.commands.values() if isinstance(found, click.Group) else ()
    own = [(name, parameter) for parameter in found.params]
    return own + [(f"{name} {each.name}", parameter) for each in inner for parameter in each.params]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name):
    assert f"[`{name}`](#{name})" in CLI
    text = section(name)
    for words, parameter in parameters(name):
        assert f"triptych {words}" in text
        if isinstance(parameter, click.Argument):
            assert (parameter.name or "").upper() in text
            continue
        for spelling in [*parameter.opts, *parameter.secondary_opts]:
            assert spelling in text or spelling in SHARED, f"{name} {spelling}"


def test_nothing_is_documented_that_is_not_there():
    known = {"--help", "--debug", "--version"}
    for name in COMMANDS:
        for _, parameter in parameters(name):
            known |= {*parameter.opts, *parameter.secondary_opts}
    assert set(re.findall(r"--[a-z][a-z-]+", CLI)) <= known


def test_choices_are_documented():
    for name in COMMANDS:
        for _, parameter in parameters(name):
            if isinstance(parameter.type, click.Choice):
                assert all(f"`{choice}`" in CLI or f" {choice}`" in CLI for choice in parameter.type.choices)


def test_every_public_name_is_documented():
    names = {name for name in dir(triptych.LLM) if not name.startswith("_")} - {"engine", "model"}
    names |= set(triptych.__all__) - {"__version__"}
    missing = [name for name in names if not re.search(rf"\b{name}\b", PYTHON)]
    assert missing == []


def test_every_parameter_result_and_error_is_documented():
    names = {item.name for kind in (SamplingParams, Usage, Timing) for item in fields(kind)}
    names |= {item.name for item in fields(EngineConfig)}
    names |= {name for name, value in vars(errors).items() if isinstance(value, type) and name != "TriptychError"}
    assert [name for name in names if f"`{name}`" not in PYTHON and f"`{name}=" not in PYTHON] == []


def test_every_metric_is_documented_and_no_other():
    shown = re.findall(r"^# HELP (\S+)", Metrics().render().decode(), re.MULTILINE)
    assert sorted(re.findall(r"`((?:vllm:|triptych_|http_)\w+)`", METRICS)) == sorted(shown)


def test_files_that_documents_point_to_exist():
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples/README.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_readme_names_the_embedded_models_and_both_commands():
    assert all(name in README for name in embedded.NAMES)
    assert "make demo" in README
    assert "make test" in README


def test_the_python_of_the_readme_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    part = README.partition("\n## From Python\n")[2].partition("\n## ")[0]
    [code] = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert isinstance(names["captions"][1], errors.ImageError)
    assert names["answer"].text in ("1", "2", "3", "4")
    assert "Usage(prompt_tokens=" in capsys.readouterr().out
