"""`triptych prices`: tables and JSON, names as people write them, refreshes, and errors with a way out."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from list_host import list_host

from triptych.catalogue.load import recorded

LIST = {
    "replicate/mistralai/mixtral-8x7b-instruct-v0.1": {
        "litellm_provider": "replicate", "input_cost_per_token": 3.5e-07, "output_cost_per_token": 1e-06,
    },
    "gpt-9": {"litellm_provider": "openai", "input_cost_per_token": 1e-05},
}  # fmt: skip


@pytest.fixture(autouse=True)
def data(monkeypatch, tmp_path) -> Path:
    """An empty data folder, and no settings of this machine."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TRIPTYCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def priced(tmp_path) -> str:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(LIST))
    return str(path)


def rows(text: str) -> dict[str, str]:
    """The lines of a table by their first words."""
    return {line.split("  ")[0]: line for line in text.splitlines() if "  " in line}


@pytest.mark.parametrize("name", ["mixtral", "Mixtral 8x7B", "mistralai/Mixtral-8x7B-Instruct-v0.1"])
def test_a_model_at_all_its_providers(cli, name):
    result = cli("prices", name)
    assert result.exit_code == 0
    found = rows(result.stdout)
    assert "$0.30*" in found["Replicate API (serverless predictions)"]
    assert "litellm-1.109.1" in found["Replicate API (serverless predictions)"]
    assert "deprecated" in found["OctoAI API"]
    assert "not sourced" in found["NVIDIA (NIM)"]
    assert "* another source has another price" in result.stdout
    assert "Newest prices: 2026-11-21" in result.stdout
    assert cli.engines == []


def test_columns_stand_under_their_heads(cli):
    lines = cli("prices", "mixtral").stdout.splitlines()
    [head] = [line for line in lines if line.startswith("PROVIDER")]
    table = lines[lines.index(head) : lines.index("", lines.index(head))]
    assert {line[head.index("SOURCE") - 1] for line in table} == {" "}
    assert len(table) == 26


def test_a_tier_is_shown_with_its_price(cli):
    assert "$0.0019 per caption (80-100 output tokens)" in cli("prices", "runware:150@2").stdout


def test_everything_that_is_said(cli):
    text = cli("prices", "llava-1.6-mistral-7b", "--all").stdout
    for words in ("Observations", "Claims", "Sources", "> released", "doubt: ", "Runware Docs", "printed: 32K",
                  "https://runware.ai/docs/models/meta-llava-1-6-mistral-7b"):  # fmt: skip
        assert words in text


def test_a_workload_is_ranked_with_its_arithmetic(cli):
    result = cli("prices", "llava", "--workload", "captions=1000")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["Replicate API", "OVHcloud", "Runware"]
    assert "2,940,000 input tokens x $0.05 / 1M + 100,000 output tokens x $0.25 / 1M" in lines[1]
    assert "$0.172" in lines[1]
    assert "a caption is one picture, 60 tokens of prompt and 100 of answer" in result.stdout
    assert "nvidia-nim/llava-1.6-mistral-7b (NVIDIA): no source gives a price" in result.stdout


def test_nobody_who_can_be_compared(cli):
    assert "no live route of llava-1.5-7b has prices" in cli("prices", "llava-1.5-7b", "-w", "caption").stdout


def test_a_provider(cli):
    text = cli("prices", "--provider", "runware").stdout
    assert "Runware (runware), https://runware.ai" in text
    assert "llava-1.6-mistral-7b" in rows(text)


def test_all_models(cli):
    found = rows(cli("prices").stdout)
    assert found["mixtral-8x7b"].split()[-1] == "here"
    assert found["mixtral-8x22b"].split()[-1] == "-"


def test_what_changed(cli):
    text = cli("prices", "--since", "2026-06-01", "--until", "2026-07-02").stdout
    assert text.startswith("From 2026-06-01 to 2026-07-02: ")
    changed = [line for line in text.splitlines() if line.startswith("mistral/mixtral-8x7b")]
    assert any("price of input" in line and line.split()[-3:-1] == ["0.15", "0.70"] for line in changed)


@pytest.mark.parametrize(
    "words", [[], ["mixtral"], ["mixtral", "-w", "blend"], ["-p", "groq"], ["--since", "2026-01-01"]]
)
def test_all_of_it_is_json_too(cli, words):
    result = cli("prices", *words, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["freshness"]["newest"] == "2026-11-21"


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["mixtrall"], 1, "did you mean tiny-mixtral or mixtral-8x7b?"),
        (["-p", "replikate"], 1, "did you mean"),
        (["mixtral", "-w", "tokens=3"], 2, "a workload has no 'tokens'; it has input, output"),
        (["mixtral", "-w", "input=lots"], 2, "input must be a whole number"),
        (["mixtral", "-w", "captions=3"], 1, "Mixtral 8x7B takes no pictures"),
        (["-w", "blend"], 2, "--workload is for a MODEL"),
        (["mixtral", "-p", "groq"], 2, "one of them"),
        (["--until", "2026-01-01"], 2, "--until needs --since"),
        (["--since", "2026-02-01", "--until", "2026-01-01"], 1, "is after until"),
        (["--since", "yesterday"], 2, "does not match the format"),
        (["mixtral", "--dated", "2026-01-01"], 2, "--dated is for refresh"),
        (["refresh"], 2, "refresh needs a SOURCE: triptych prices refresh ADDRESS, FILE, models.dev or litellm"),
        (["mixtral", "list.json"], 2, "only `refresh` takes a SOURCE"),
        (["refresh", "nothing.json"], 1, "there is no such file"),
        (["refresh", "http://127.0.0.1:9/"], 1, "are kept"),
    ],
)
def test_errors_are_one_line_with_a_way_out(cli, words, code, why):
    result = cli("prices", *words)
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert why in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_refresh_records_and_is_shown(cli, priced, data):
    result = cli("prices", "refresh", priced)
    assert result.exit_code == 0
    assert "1 prices of the catalogue's models recorded in" in result.stdout
    assert len(recorded(data)) == 1
    assert "$0.35*" in rows(cli("prices", "mixtral").stdout)["Replicate API (serverless predictions)"]
    assert "nothing new" in cli("prices", "refresh", priced).stdout
    assert len(recorded(data)) == 1


def test_a_refresh_from_an_address_and_of_a_day(cli, data):
    with list_host({"/list.json": json.dumps(LIST).encode()}) as host:
        done = json.loads(cli("prices", "refresh", f"{host}/list.json", "--dated", "2026-11-23", "--json").stdout)
    assert (done["form"], done["prices"], done["others"], done["before"]) == ("litellm", 1, 1, "2026-11-21")
    assert Path(done["record"]).name.startswith("2026-11-23-litellm-")


def test_entries_that_were_passed_over_are_told(cli, tmp_path):
    wrong = {"x/mixtral-8x7b": {"litellm_provider": "x", "input_cost_per_token": -1}, **LIST}
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    result = cli("prices", "refresh", "wrong.json")
    assert result.exit_code == 0
    assert "passed over: x/mixtral-8x7b: its input price, -1, is negative or absurd" in result.stderr


def test_a_damaged_record_is_a_warning(cli, data):
    (data / "catalogue").mkdir(parents=True)
    (data / "catalogue" / "2026-01-01-x.json").write_text("{")
    result = cli("prices", "mixtral")
    assert result.exit_code == 0
    assert "warning: left out: " in result.stderr
    assert "2026-01-01-x.json" in result.stderr


def test_old_prices_are_called_stale(cli, monkeypatch):
    from datetime import date

    import triptych.catalogue.load as loading

    monkeypatch.setattr(loading, "today", lambda: date(2026, 11, 28))
    assert "stale" not in cli("prices").stdout
    monkeypatch.setattr(loading, "today", lambda: date(2026, 11, 29))
    assert "8 days old; stale: `triptych prices refresh models.dev`" in cli("prices").stdout


def test_a_terminal_gets_a_table_without_markup(monkeypatch):
    from triptych.cli.columns import show

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", "100")
    show(["NAME", "PRICE"], [["[red]a[/red]", "$1.00"]], ("PRICE",))
    assert "[red]a[/red]" in out.getvalue()
    assert "NAME" in out.getvalue()
