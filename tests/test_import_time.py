"""What must not be loaded for small things: by module, because times differ between machines."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from triptych.cli import COMMANDS

HEAVY = {"torch", "numpy", "PIL", "rich", "tokenizers", "safetensors", "huggingface_hub", "transformers", "llguidance"}


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    listing = "import json, sys\nprint('LOADED', json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    script = f"{code}\n{listing}"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    return set(json.loads(answer.stdout.rpartition("LOADED ")[2]))


def run_cli(commands: list[list[str]], code: int = 0) -> None:
    """Run them one after the other in one interpreter, until one loads something or ends otherwise."""
    loaded(f"""
import sys
from triptych.cli import main

for words in {commands}:
    try:
        main(words)
    except SystemExit as end:
        assert (end.code or 0) == {code}, words
    assert not {HEAVY} & set(sys.modules), words
""")


def test_importing_triptych_loads_nothing_heavy():
    assert not loaded("import triptych") & (HEAVY | {"click", "asyncio", "concurrent"})


def test_the_server_loads_no_torch():
    assert not loaded("import triptych.server.start") & {"torch", "transformers", "tokenizers", "llguidance"}


def test_help_and_lists_load_nothing_heavy():
    run_cli([["--help"], ["--version"], ["version"], ["models"], *([name, "--help"] for name in COMMANDS)])


def test_names_are_there_without_being_loaded():
    code = "import triptych\nassert 'LLM' in dir(triptych)\ntriptych.SamplingParams(max_tokens=3)"
    assert "torch" not in loaded(code)


def test_an_unknown_name_is_an_attribute_error():
    import triptych

    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = triptych.nonsense


def test_every_public_name_can_be_imported():
    import triptych

    assert all(getattr(triptych, name) is not None for name in triptych.__all__)


def test_a_wrong_option_loads_nothing_heavy():
    run_cli([["caption", "--nope"]], code=2)
